"""A node with eight GPUs that is pretended: no GPU is held twice, the order is kept, and a whole recipe fills the machine.

`make test-node` runs the long forms: a thousand grants, and all 58 steps of wrpo-llama3-8b with kills.
"""

from itertools import pairwise

import pytest

from infra.store import Store
from tasks.stage import Step
from tests.node.mix import POOLS, steps
from tests.node.node import GPUS, Node
from tests.node.processes import Workers

TOLERANCE = 3.0  # seconds between the end of a program and the start of the next one, on a machine that is busy
HOUR = 3600.0  # of waiting, that a step is worth which waits for a program


@pytest.mark.parametrize(("jobs", "kills", "workers"), [(14, 4, 1), pytest.param(340, 60, 9, marks=pytest.mark.node)])
def test_programs_of_three_workers_never_meet_on_a_gpu_whatever_is_killed(tmp_path, jobs, kills, workers):
    node = Node(tmp_path)
    storm = Workers(node, [("tests.node.storm", str(seed), str(jobs), "0.2") for seed in range(3)], seed=jobs)
    done = lambda: len(list(tmp_path.glob("workspace/storm-*/*/summary.json"))) == 3 * jobs
    took = storm.run(done, kills, workers, every=0.3)
    records = node.records()
    print(
        f"\n{len(records)} grants in {took:.0f} s, {storm.killed_programs} programs and {storm.killed_workers} workers killed"
    )
    assert storm.killed_programs > 0
    assert not node.violations() and len(records) >= 3 * jobs
    assert not overlaps(records)
    assert {tuple(one["gpus"]) for one in records if one["together"] == 8} == {tuple(map(str, range(GPUS)))}


@pytest.mark.node
def test_the_papers_recipe_fills_the_node_whatever_is_killed(tmp_path):
    """An hour is six seconds; a worker process for each pool, and one for the flow and what needs no GPU."""
    node, scale = Node(tmp_path), 6.0
    chain = steps()
    node.bring_models(chain)
    pools = ["here", *sorted(set(POOLS.values()))]
    workers = Workers(node, [("tests.node.worker", pool, str(scale)) for pool in pools], seed=15)
    store = Store(str(tmp_path / "workspace/store"), tmp_path / "cache")
    done = lambda: store.manifest(chain[-1].stage.name, chain[-1].fingerprint) is not None
    workers.run(done, programs=20, workers=3, every=8)
    records = node.records()
    print(f"\n{len(chain)} steps, {workers.killed_programs} programs and {workers.killed_workers} workers killed")
    print(told(records, chain))
    assert not node.violations() and not overlaps(records)
    assert busy(records) >= 0.8 and not overtaken(records)


def busy(records: list[dict]) -> float:
    """The share of the GPUs' time, from the first program's start to the last one's end, that programs held them."""
    began, ended = min(one["start"] for one in records), max(one["end"] for one in records)
    return area(records) / (GPUS * (ended - began))


def area(records: list[dict]) -> float:
    return sum(len(one["gpus"]) * (one["end"] - one["start"]) for one in records)


def told(records: list[dict], chain: list[Step]) -> str:
    """The schedule beside the ideal one: no shorter than its longest path, nor than all work on all GPUs."""
    lengths = sorted((one["end"] - one["start"], one["what"]) for one in records)
    took = {what: seconds for seconds, what in lengths}  # of several the longest
    path: dict[str, float] = {}
    for step in chain:
        before = [path[item.address] for items in step.inputs.values() for item in items]
        path[step.address] = max(before, default=0) + took.get(step.label, 0)
    ideal, spread = max(max(path.values()), area(records) / GPUS), area(records) / GPUS
    real = max(one["end"] for one in records) - min(one["start"] for one in records)
    return (
        f"{len(records)} programs in {real:.0f} s, GPUs busy {busy(records):.0%}; ideal: {ideal:.0f} s, "
        f"{spread / ideal:.0%} (longest path {max(path.values()):.0f} s, all work on all GPUs {spread:.0f} s)"
    )


def overtaken(records: list[dict]) -> list[str]:
    """Programs on all GPUs that waited longer than for what was there before them, in the order of the queue."""
    found = []
    rank = lambda one: one["asked"] - HOUR * one["urgency"]
    for big in {(one["what"], one["start"]): one for one in records if one["together"] == GPUS}.values():
        others = [one for one in records if one["start"] != big["start"]]
        before = [one for one in others if one["start"] < big["queued"] or rank(one) <= rank(big)]
        # of one that was killed the end could not be foreseen
        ends = [max(one["end"], one["start"] + one["seconds"]) for one in before if one["start"] < big["start"]]
        after = [one for one in others if one not in before and one["start"] < big["start"]]
        slower = max(
            (one["end"] - one["start"] - one["seconds"] for one in after), default=0
        )  # on a machine that is busy
        late = big["start"] - max([big["queued"], *ends])
        if late > TOLERANCE + slower:
            found.append(f"{big['what']} waited {late:.1f} s too long")
    return found


def overlaps(records: list[dict]) -> list[tuple[dict, dict]]:
    """Pairs of programs that had a GPU at the same time, by their own clocks: a check beside the locks."""
    found = []
    for gpu in map(str, range(GPUS)):
        ours = sorted((one for one in records if gpu in one["gpus"]), key=lambda one: one["start"])
        pairs = pairwise(ours)
        found += [(before, after) for before, after in pairs if after["held"] < before["end"]]
    return found
