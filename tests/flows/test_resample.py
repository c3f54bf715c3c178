"""Rows made again: silence on an untouched store, one changed row of ten thousand found, nothing written into the pools."""

import hashlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.upkeep import resample
from flows.upkeep.resample import Comparison, choose_share, compare_rows, read_results, resample_recipe
from flows.workspace import Workspace
from infra.errors import BadInput
from tasks.execution import Share, watch_nothing
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import How, What, stage
from tests.hashed import SCHEMA
from tests.workplace import as_made


class Ids(What):
    count: int


@stage("hashed", version="1", rows=lambda what, inputs: {"hashed": "ids"})
def hashed(run, what, how):
    wanted = pd.DataFrame({"prompt_id": [hashlib.sha256(str(one).encode()).hexdigest() for one in range(what.count)]})
    rows = fill_pool(run, wanted, ["prompt_id"], SCHEMA, "tests.hashed", {})
    if run.share is None:
        write_table(run, rows, SCHEMA, "hashed.parquet")


@pytest.fixture
def made(workplace, monkeypatch):
    """10,000 rows, and a way to change some of them in the artifact as a hidden fault would: with a whole manifest."""
    how = Comparison(("hashed.parquet",), ("prompt_id",), ("text",), ("score",), 1e-4)
    monkeypatch.setitem(resample.COMPARISONS, "hashed", how)
    step = hashed(what=Ids(count=10_000), how=How())
    workplace.made(step)
    place = Workspace(workplace.store, workplace.launcher, workplace.folder)

    def change(column: str, row: int, value) -> str:
        rows = workplace.table(step, "hashed.parquet")
        rows.loc[row, column] = value
        folder = workplace.folder / "changed"
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pandas(rows, SCHEMA, preserve_index=False), folder / "hashed.parquet")
        workplace.store.discard("hashed", step.fingerprint)
        workplace.store.publish(folder, as_made(step))
        return rows.loc[row, "prompt_id"]

    return step, place, change


def share_of(prompt: str, of: int) -> Share:
    """The share that has this row."""
    return Share(number=int(prompt[:8], 16) % of + 1, of=of)


def test_an_untouched_store_is_equal_and_its_pools_stay_as_they_were(made):
    step, place, _ = made
    before = place.store.parts(step.pool)
    share = choose_share("1%", seed=7)
    (found,) = resample_recipe(step, place, share, 7, watch_nothing)
    assert 60 < found.rows < 140 and found.equal == found.rows and found.different == () and found.stored == 10_000
    assert place.store.parts(step.pool) == before
    (kept,) = read_results(step.address, place.store)
    assert (kept["equal"], kept["share"], kept["seed"]) == (found.equal, "1/100", 7)


@pytest.mark.parametrize(("column", "value"), [("text", "another"), ("score", 99.5)])
def test_one_changed_row_of_ten_thousand_is_found_in_its_sample_alone(made, column, value):
    step, place, change = made
    prompt = change(column, 4321, value)
    (found,) = resample_recipe(step, place, share_of(prompt, 100), 0, watch_nothing)
    assert found.rows - found.equal == 1 and found.different == (prompt,)
    other = Share(number=share_of(prompt, 100).number % 100 + 1, of=100)
    (silent,) = resample_recipe(step, place, other, 0, watch_nothing)
    assert silent.equal == silent.rows > 0


def test_a_difference_within_the_tolerance_is_none(made):
    step, place, change = made
    rows = place.store.fetch(place.store.manifest(*step.address.split("/"))) / "hashed.parquet"
    score = pd.read_parquet(rows)["score"][4321]
    prompt = change("score", 4321, score + 5e-5)
    (found,) = resample_recipe(step, place, share_of(prompt, 100), 0, watch_nothing)
    assert found.equal == found.rows


def test_engines_and_machines_that_changed_are_named(monkeypatch):
    how = Comparison(("x.parquet",), ("prompt_id",), ("text",))
    monkeypatch.setitem(resample.COMPARISONS, "hashed", how)
    step = hashed(what=Ids(count=1), how=How())
    manifest = as_made(step).model_copy(update={"provenance": {"torch": "1.0", "cores": 10**6}})
    stored = pd.DataFrame({"prompt_id": ["a"], "text": ["x"], "engine": ["vllm 0.1"]})
    found = compare_rows(step, manifest, stored, stored.assign(engine="vllm 0.2"))
    assert found.equal == 1 and "engine vllm 0.1 → vllm 0.2" in found.drift
    assert any(line.startswith("torch 1.0 → ") for line in found.drift) and any("cores" in line for line in found.drift)


def test_a_result_whose_bytes_were_changed_does_not_count(made):
    step, place, _ = made
    resample_recipe(step, place, Share(number=1, of=1000), 0, watch_nothing)
    (path,) = place.store.blobs.list(f"_resamples/{step.address}")
    raw = place.store.blobs.read(path)
    place.store.blobs.delete(path)
    place.store.blobs.create(path, raw.replace(b'"equal": ', b'"equal":  '))
    assert read_results(step.address, place.store) == []


@pytest.mark.parametrize("text", ["0", "101%", "-1%", "some"])
def test_a_share_is_above_0_and_at_most_1(text):
    with pytest.raises(BadInput, match="--resample: must be a share"):
        choose_share(text, 0)


def test_a_share_is_chosen_by_its_seed():
    assert choose_share("1%", 3) == choose_share("0.01", 3) and choose_share("100%", 3) == Share(number=1, of=1)
    assert len({choose_share("1%", seed).number for seed in range(40)}) > 20
