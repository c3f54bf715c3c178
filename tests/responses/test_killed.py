"""Sampling by transformers, killed with SIGKILL at random moments: the rows are those of an unbroken run, to the byte."""

import pytest

from infra.settings import settings
from tasks.responses.engines import Transformers
from tests.responses.killed import broken, unbroken
from tests.responses.steps import QUESTIONS, sampled


@pytest.mark.heavy
def test_random_kills_of_sampling_leave_the_unbroken_rows(workplace, monkeypatch):
    folder, kills = workplace.folder / "broken", 20
    monkeypatch.setenv("FUSE_WORKSPACE", str(folder / "workspace"))
    settings.cache_clear()
    slow = Transformers(batch_size=2, part_seconds=0, restarts=kills)
    step = sampled(slow, QUESTIONS, n=16, max_new_tokens=200, temperature=0.9)
    usual = unbroken(workplace, step)
    whole = workplace.table(step, "responses.parquet")
    places, done = broken(folder, step, kills, usual)
    print(f"\n{dict(done)} kills within {usual:.0f} s each, {len(places)} stores")
    for place in places:
        assert place.table(step, "responses.parquet").equals(whole) and len(whole) == 16 * len(QUESTIONS)
        assert sum(part.rows for part in place.store.parts(step.pool)) == len(whole)  # none was made twice
