"""What the launcher makes of a machine's GPUs: how many programs run at once, and what each of them sees."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from flows.cli.console import Watcher
from infra.errors import BadInput
from infra.launch import Launcher
from infra.ledger import Request
from infra.settings import settings
from infra.store import Store
from tasks.execution import ensure_artifact
from tasks.rows.pool import make_missing
from tasks.rows.workers import Workers
from tasks.stage import How, What, stage
from tests.node.node import Node


@pytest.fixture
def node(tmp_path, monkeypatch):
    """This process is on the node, with these variables beside."""

    def enter(**variables: str) -> Node:
        node = Node(tmp_path)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for name, value in (node.make() | variables).items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        return node

    monkeypatch.chdir(Path(__file__).parents[2])
    yield enter
    settings.cache_clear()


def run(node: Node, launcher: Launcher, *sizes: int, seconds: float = 1.0) -> list[dict]:
    """The records of programs that want so many GPUs each, all at once."""

    def one(number: int) -> None:
        job = {"seconds": seconds, "asked": 0, "queued": 0, "urgency": 0, "what": str(number), "program": "holder"}
        request = Request(sizes[number], str(number))
        launcher.run("tests.node.holder", job, node.folder / "out" / str(number), request=request)

    with ThreadPoolExecutor(len(sizes)) as threads:
        list(threads.map(one, range(len(sizes))))
    return node.records()


def at_once(records: list[dict]) -> int:
    return max(sum(one["held"] <= other["held"] < one["end"] for one in records) for other in records)


def test_as_many_programs_run_at_once_as_have_gpus_and_nothing_need_be_set(node):
    """On two cores too: what waits for GPUs takes no place of what needs none."""
    here = node()
    records = run(here, Launcher(), *[1] * 9, seconds=3.0)
    assert not here.violations() and at_once(records) == 8


def test_a_limit_is_kept(node):
    here = node(FUSE_PROGRAMS="2")
    assert at_once(run(here, Launcher(), *[1] * 4)) == 2


def test_a_program_sees_only_the_gpus_granted_to_it(node):
    here = node(CUDA_VISIBLE_DEVICES="GPU-5a,3,2,-1,7")
    seen = {one["what"]: one["gpus"] for one in run(here, Launcher(), 0, 3)}
    assert seen == {"0": [], "1": ["5", "3", "2"]}
    with pytest.raises(BadInput, match="0 needs 4 GPUs, this machine has 3"):
        run(here, Launcher(), 4)


def test_threads_are_shared_out_among_as_many_programs_as_run_at_once(node, monkeypatch):
    node()
    monkeypatch.setattr("infra.settings.count_cores", lambda: 32)
    assert Launcher().threads == 4


class Four(How):
    workers: int = 4

    @property
    def gpus(self) -> int:
        return 1


@stage("four on a node", version="1", rows=lambda what, inputs: {"squares": "on a node"})
def squares(run, what: What, how: Four) -> None:
    wanted = pd.DataFrame({"number": range(8)})
    job = {"dies_on": (), "always": (), "refuses": (), "seconds": 0, "deaths": ""}
    make_missing(run, wanted, ["number"], Workers("tests.slow_squares", workers=how.workers), job)
    (run.folder / "done").touch()


def test_a_run_shows_once_which_programs_hold_the_gpus_it_waits_for(node):
    here, shown = node(), io.StringIO()
    launcher = Launcher()
    step = squares(what=What(), how=Four())
    with Watcher(Console(file=shown, width=140)) as watcher, ThreadPoolExecutor(1) as threads:
        with launcher.ledger.taken(Request(8, "WRPO of another run")):
            store = Store(str(here.folder / "store"), here.folder / "cache")
            made = threads.submit(ensure_artifact, step, store, launcher, watcher)
            while "waits" not in shown.getvalue():
                assert not made.done()
        assert made.result().counts["rows_made"] == 8
    said = f"  … four on a node: waits for 1 GPU, 0 of 8 free: WRPO of another run (process {os.getpid()}) has 8"
    assert [line for line in shown.getvalue().splitlines() if "waits" in line] == [said]
