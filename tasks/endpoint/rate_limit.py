"""How fast an endpoint may be asked: requests and tokens per minute, and the pauses that it asks for.

What a request will cost is not known before its answer: the mean of those so far is reserved, and put right afterwards.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BURST = 1 / 30  # of a minute's allowance may be used at once


@dataclass
class Bucket:
    """Fills at a rate per minute and may be overdrawn; until the debt is paid, one has to wait."""

    per_minute: float  # 0: no limit
    clock: Callable[[], float] = time.monotonic
    level: float = 0.0
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level, self.at = self.room, self.clock()

    @property
    def room(self) -> float:
        return max(1.0, self.per_minute * BURST)

    def wait(self) -> float:
        """Seconds until it owes nothing."""
        if not self.per_minute:
            return 0.0
        now = self.clock()
        self.level, self.at = min(self.room, self.level + (now - self.at) * self.per_minute / 60), now
        return max(0.0, -self.level * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        self.level -= amount


@dataclass
class Pace:
    """One for all requests to one server."""

    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    expected: float = 1000.0  # tokens of a request, until answers say it better
    clock: Callable[[], float] = time.monotonic
    sleep: Callable = asyncio.sleep
    stopped_until: float = 0.0
    answers: int = 0
    tokens: int = 0
    requests: Bucket = field(init=False)
    volume: Bucket = field(init=False)

    def __post_init__(self) -> None:
        self.requests = Bucket(self.requests_per_minute, self.clock)
        self.volume = Bucket(self.tokens_per_minute, self.clock)

    async def turn(self) -> float:
        """Returns when one more request may go out, with the tokens that are reserved for it."""
        while (pause := max(self.requests.wait(), self.volume.wait(), self.stopped_until - self.clock())) > 0:
            await self.sleep(pause + 0.001)
        reserved = self.tokens / self.answers if self.answers else self.expected
        self.requests.take(1)
        self.volume.take(reserved)
        return reserved

    def used(self, reserved: float, tokens: int) -> None:
        self.volume.take(tokens - reserved)
        if tokens:
            self.answers, self.tokens = self.answers + 1, self.tokens + tokens

    def stop_until(self, moment: float) -> None:
        """A server that is too busy for one request is too busy for all."""
        self.stopped_until = max(self.stopped_until, moment)
