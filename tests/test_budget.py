"""A budget ends the work at the end of a part, and a higher one continues with the rows that are missing."""

import json

import pandas as pd
import pytest

from infra.budget import BUDGET, Budget, read_spent
from infra.errors import BadInput, BudgetReached
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import How, What, stage
from tests.squares import SCHEMA

JOB = {"refuses": [], "dies_on": [], "always": [], "deaths": "", "seconds": 0.5}  # parts of three rows
NUMBERS = (3, 1, 4, 15, 9, 2, 6, 5)


class Numbers(What):
    numbers: tuple[int, ...]


@stage("slow squares", version="1", rows=lambda what, inputs: {"squares": "of whole numbers"})
def slow_squares(run, what, how):
    wanted = pd.DataFrame({"number": what.numbers})
    write_table(run, fill_pool(run, wanted, ["number"], SCHEMA, "tests.slow_squares", JOB), SCHEMA, "squares.parquet")


@pytest.fixture
def budget(tmp_path):
    yield lambda limit, hour: BUDGET.begin(limit, 0.0, hour, tmp_path / "spent.json")
    BUDGET.__init__()


def test_time_and_money_are_added_and_kept(tmp_path):
    one, file = Budget(), tmp_path / "budgets" / "one.json"
    one.begin(5.0, 2.0, 0.5, file)
    assert (one.rate(0), one.rate(4)) == (0.5 / 3600, 8 / 3600)
    one.spend(3.0)
    one.check()
    one.spend(2.5)
    with pytest.raises(BudgetReached, match=r"--budget 5: 5\.50 dollars are spent"):
        one.check()
    one.save()
    assert json.loads(file.read_text()) == {"dollars": 5.5} and read_spent(file) == 5.5
    again = Budget()
    again.begin(9.0, 2.0, 0.5, file)
    again.check()
    assert again.spent == 5.5


def test_without_a_limit_nothing_ends():
    free = Budget()
    free.spend(1e9)
    free.check()


def test_a_run_stops_after_a_part_and_continues_when_the_budget_is_raised(workplace, budget):
    step = slow_squares(what=Numbers(numbers=NUMBERS), how=How())
    held = lambda: sum(part.rows for part in workplace.store.parts(step.pool))
    budget(1e-6, 3600.0)  # a dollar a second: spent before the first part is complete
    with pytest.raises(BudgetReached):
        workplace.made(step)
    kept = held()
    assert kept in (3, 6) and workplace.store.manifests("slow-squares") == []
    with pytest.raises(BudgetReached):
        workplace.made(step)  # no program starts
    assert held() == kept
    budget(1e6, 3600.0)
    assert workplace.made(step).counts["rows_made"] == len(NUMBERS) - kept
    assert sorted(workplace.table(step, "squares.parquet")["square"]) == sorted(number**2 for number in NUMBERS)


def test_a_spent_budget_is_an_input_that_a_person_changes():
    assert issubclass(BudgetReached, BadInput)
