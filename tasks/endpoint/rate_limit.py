"""Limits the requests and tokens per minute to an endpoint, and keeps the pauses that the endpoint asks for.

The tokens of a request are unknown before its answer: the mean so far is reserved, and corrected after the answer.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

BURST = 1 / 30  # share of a minute's limit that may be used at once


@dataclass
class TokenBucket:
    """Fills at a rate per minute. Its level may become negative; callers then wait until it is zero again."""

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
        """Seconds until the level is not negative."""
        if not self.per_minute:
            return 0.0
        now = self.clock()
        self.level, self.at = min(self.room, self.level + (now - self.at) * self.per_minute / 60), now
        return max(0.0, -self.level * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        self.level -= amount


@dataclass
class Pace:
    """The rate limit shared by all requests to one server."""

    requests_per_minute: float = 0
    tokens_per_minute: float = 0
    expected: float = 1000.0  # tokens reserved per request before the first answer
    clock: Callable[[], float] = time.monotonic
    sleep: Callable = asyncio.sleep
    stopped_until: float = 0.0
    answers: int = 0
    tokens: int = 0
    requests: TokenBucket = field(init=False)
    volume: TokenBucket = field(init=False)

    def __post_init__(self) -> None:
        self.requests = TokenBucket(self.requests_per_minute, self.clock)
        self.volume = TokenBucket(self.tokens_per_minute, self.clock)

    async def turn(self) -> float:
        """Waits until one more request may be sent; returns the tokens reserved for it."""
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
        """Pauses all requests until `moment`, since a busy server is busy for all of them."""
        self.stopped_until = max(self.stopped_until, moment)
