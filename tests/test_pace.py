"""Rate limits, on a clock of the test's own: over any minute no more goes out than is allowed, and what is allowed does."""

import asyncio
from collections.abc import Callable

from tasks.endpoint.rate_limit import Pace


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def sent(minutes: float, tokens: Callable[[int], int] = lambda number: 0, **limits: float) -> list[float]:
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep, **limits)
    times = []

    async def send() -> None:
        while clock.now < 60 * minutes:
            reserved = await pace.turn()
            times.append(clock.now)
            clock.now += 1e-4
            pace.used(reserved, tokens(len(times) - 1))

    asyncio.run(send())
    return times


def test_requests_go_out_at_their_rate_and_not_in_a_burst():
    times = sent(3, requests_per_minute=120)
    for start in range(0, 120, 10):
        within = sum(start <= time < start + 60 for time in times)
        assert 118 <= within <= 120 * (1 + 1 / 30) + 1


def test_tokens_are_counted_as_the_server_counts_them():
    """The first answers are short, the later ones ten times as long: what was reserved by their mean is too little."""
    size = lambda number: 100 if number < 300 else 1000
    times = sent(6, tokens=size, tokens_per_minute=30_000, expected=4000)
    for start in range(0, 300, 20):
        used = sum(size(number) for number, time in enumerate(times) if start <= time < start + 60)
        assert 0.9 * 30_000 <= used <= 1.1 * 30_000 + 4000 * (start == 0)


def test_without_limits_nothing_waits_and_a_pause_holds_everything_up():
    clock = Clock()
    pace = Pace(clock=clock, sleep=clock.sleep)
    asyncio.run(pace.turn())
    assert clock.now == 0
    pace.stop_until(30)
    pace.stop_until(10)  # an earlier end does not shorten it
    asyncio.run(pace.turn())
    assert 30 <= clock.now < 31
