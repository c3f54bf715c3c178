"""What the launcher makes of a machine's GPUs: how many programs run at once, and what each of them sees."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import BadInput
from infra.launch import Launcher
from infra.ledger import Request
from infra.settings import settings
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
        job = {"seconds": seconds, "asked": 0, "urgency": 0, "what": str(number), "program": "holder"}
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


def test_a_program_sees_the_gpus_that_it_was_granted_and_one_that_wants_none_sees_none(node):
    here = node(CUDA_VISIBLE_DEVICES="GPU-5a,3,2,-1,7")
    seen = {one["what"]: one["gpus"] for one in run(here, Launcher(), 0, 3)}
    assert seen == {"0": [], "1": ["5", "3", "2"]}
    with pytest.raises(BadInput, match="0 asks for 4 GPUs, this machine has 3"):
        run(here, Launcher(), 4)


def test_threads_are_shared_out_among_as_many_programs_as_run_at_once(node, monkeypatch):
    node()
    monkeypatch.setattr("infra.settings.cores", lambda: 32)
    assert Launcher().threads == 4
