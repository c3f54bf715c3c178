"""Sampling by transformers, killed with SIGKILL at random moments: the rows are those of an unbroken run, to the byte."""

import random

import pytest

from infra.settings import settings
from tasks.responses.engines import Transformers
from tests.responses.killed import broken, unbroken
from tests.responses.steps import QUESTIONS, sampled
from tests.workplace import Workplace


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.heavy)])
def test_a_sampling_run_that_is_killed_at_random_moments_leaves_exactly_the_rows_of_an_unbroken_run(
    workplace, monkeypatch, kills
):
    monkeypatch.setenv("FUSE_WORKSPACE", str(workplace.folder / "broken" / "workspace"))
    settings.cache_clear()
    step = sampled(
        Transformers(batch_size=2, part_seconds=0, restarts=kills), QUESTIONS, n=16, max_new_tokens=200, temperature=0.9
    )
    usual = unbroken(workplace, step)
    place = Workplace(workplace.folder / "broken")
    done = broken(place, step, kills, usual, random.Random(kills))
    print(f"\n{done} kills of {usual:.0f} s each")
    table = place.table(step, "responses.parquet")
    assert table.equals(workplace.table(step, "responses.parquet")) and len(table) == 16 * len(QUESTIONS)
    assert sum(part.rows for part in place.store.parts(step.pool)) == len(table)  # none was made twice
    assert sum(done.values()) == kills
