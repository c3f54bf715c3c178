"""SIGKILL at every commit point and at random moments: what is finished stays, nothing is torn, the end is the same.

The short form belongs to the suite; `make chaos` runs the long one. CHAOS_SEED repeats a run's choices.
"""

import os
import random
import time

import pytest

from tests.chaos.kills import redone, unbroken

LIMIT = 60  # seconds of one loop: a busy machine makes fewer kills, and says how many
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 2**32))


@pytest.fixture
def dice():
    print(f"CHAOS_SEED={SEED}")
    return random.Random(SEED)


def hold(attacked, expected: dict[str, str]) -> None:
    """All that was promised, once a run has come to its end."""
    attacked.finish()
    assert attacked.contents() == expected
    assert redone(attacked.diary) == []


def at_points(attack, dice, count: int) -> None:
    """Kills at single points, then runs whose every life ends after some more points."""
    expected, points = unbroken(attack())
    end, kills = time.monotonic() + LIMIT, 0
    for number in dice.sample(range(1, points + 1), min(count, points)):
        if time.monotonic() > end:
            break
        attacked = attack()
        assert attacked.at_point(number)
        attacked.visible()
        hold(attacked, expected)
        kills += 1
    print(f"{kills} kills at {points} points")


def lives(attack, dice, count: int) -> None:
    expected, points = unbroken(attack())
    end, kills = time.monotonic() + LIMIT, 0
    while kills < count and time.monotonic() < end:
        attacked = attack()
        while kills + attacked.kills < count and attacked.at_point(dice.randint(1, points // 2)):
            attacked.visible()
        hold(attacked, expected)
        kills += attacked.kills
    print(f"{kills} kills")


def at_moments(attack, dice, count: int) -> None:
    began = time.monotonic()
    expected, _ = unbroken(attack())
    usual, kills, end = time.monotonic() - began, 0, time.monotonic() + LIMIT
    while kills < count and time.monotonic() < end:
        attacked = attack()
        while kills + attacked.kills < count and attacked.after(dice.uniform(0, usual)):
            attacked.visible()
        hold(attacked, expected)
        kills += attacked.kills
    print(f"{kills} kills")


def test_a_run_killed_at_any_commit_point_ends_as_if_it_had_not_been(attack, dice):
    at_points(attack, dice, 4 if attack.kind == "file" else 1)
    lives(attack, dice, 8 if attack.kind == "file" else 3)


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(attack, dice):
    at_moments(attack, dice, 4 if attack.kind == "file" else 2)


@pytest.mark.chaos
def test_a_run_killed_at_many_commit_points(attack, dice):
    at_points(attack, dice, 60 if attack.kind == "file" else 15)
    lives(attack, dice, 30)


@pytest.mark.chaos
def test_a_run_killed_at_many_moments(attack, dice):
    at_moments(attack, dice, 60 if attack.kind == "file" else 30)
