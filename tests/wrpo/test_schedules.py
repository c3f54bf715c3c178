"""alpha at the ends of a run, between them, and of runs with hardly any steps."""

import math

import pytest

from tasks.wrpo.preference import from_job
from tasks.wrpo.schedules import cosine_alpha, gap_alpha, linear_alpha


def test_linear_alpha_starts_at_0_and_stops_one_step_short():
    assert [linear_alpha(step, 4, 0.1) for step in range(4)] == [0.0, 0.025, 0.05, 0.1 * 3 / 4]
    assert linear_alpha(4, 4, 0.1) == 0.1


def test_cosine_alpha_shares_ends_and_middle_with_linear():
    assert cosine_alpha(0, 4, 0.1) == 0.0 and cosine_alpha(4, 4, 0.1) == 0.1
    assert cosine_alpha(2, 4, 0.1) == pytest.approx(0.05)
    assert cosine_alpha(1, 4, 0.1) == pytest.approx(0.1 * (1 - math.sqrt(0.5)) / 2)
    assert cosine_alpha(3, 4, 0.1) == pytest.approx(0.1 * (1 + math.sqrt(0.5)) / 2)


def test_alpha_of_a_run_without_steps_divides_by_nothing():
    assert linear_alpha(0, 0, 0.1) == cosine_alpha(0, 0, 0.1) == 0.0


def test_gap_alpha_is_the_ratio_of_perplexities_over_the_last_steps():
    assert gap_alpha([], 0.4, scale=1, window=3) == 0.0
    assert gap_alpha([math.log(2)], 0.4, scale=1, window=3) == pytest.approx(0.2)
    assert gap_alpha([9.0, math.log(2), math.log(4), math.log(8)], 0.4, scale=1, window=3) == pytest.approx(0.1)
    assert gap_alpha([math.log(4)], 0.4, scale=2, window=3) == pytest.approx(0.2)
    assert (
        gap_alpha([-5.0], 0.4, scale=1, window=3) == 0.4
    )  # the source's response is the likelier one: never above alpha
    assert gap_alpha([1e9], 0.4, scale=1, window=3) == 0.0


STEPS = 5
HISTORY = [{"step": step, "loss": 1.0, "gap": math.log(step + 1)} for step in range(1, STEPS + 1)]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "linear"}, [0.0, 0.32, 0.4]),
        ({"kind": "static"}, [0.4, 0.4, 0.4]),
        ({"kind": "cosine"}, [0.0, 0.2 * (1 - math.cos(math.pi * 4 / 5)), 0.4]),
        ({"kind": "gap", "window": 1}, [0.0, 0.4 / 5, 0.4 / 6]),
    ],
)
@pytest.mark.parametrize("kind", ["wrpo", "wrpo-simpo", "wrpo-ipo"])
def test_the_setting_chooses_the_schedule_from_earlier_steps_only(kind, schedule, expected):
    objective = {"kind": kind, "alpha": 0.4, "schedule": schedule}
    preference = from_job({"learning_rate": 1.0, "objective": objective}, seed=0)
    found = [preference.alpha(step, STEPS, HISTORY) for step in (0, STEPS - 1, STEPS)]
    assert found == pytest.approx(expected)


def test_where_nothing_is_weighed_there_is_no_alpha():
    preference = from_job({"learning_rate": 1.0, "objective": {"kind": "dpo"}}, seed=0)
    assert preference.alpha(0, STEPS, []) is None
