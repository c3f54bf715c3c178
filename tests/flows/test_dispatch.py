"""Which run of a step a flow follows: one per step and store, and none where a quicker flow has had it made."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.states import Completed, Crashed, Pending

from flows import dispatch
from flows.fusion import fusion
from flows.place import Place
from flows.written import load
from infra.launch import Launcher
from infra.store import Store
from tasks.stage import lineage
from tests.flows.test_gc import made


@dataclass
class Server:
    """Keeps runs as Prefect's server does: by tags, and one per idempotency key."""

    runs: dict[str, SimpleNamespace] = field(default_factory=dict)

    def read_flow_runs(self, flow_run_filter, sort):
        return [run for run in self.runs.values() if set(flow_run_filter.tags.all_) <= set(run.tags)]

    def run_deployment(self, name, parameters, idempotency_key, tags, flow_run_name, timeout):
        run = SimpleNamespace(id=uuid4(), name=flow_run_name, tags=tags, state=Pending())
        return self.runs.setdefault(idempotency_key, run)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(dispatch, "run_deployment", server.run_deployment)
    return server


@pytest.fixture
def step():
    return next(
        step for step in lineage(fusion(load("demo", ["how.wrpo.work_pool=gpu-train"]))) if step.label == "WRPO"
    )


def place(folder) -> Place:
    return Place(Store(str(folder), folder / "cache"), Launcher(1, 1), folder)


def test_flows_that_need_a_step_follow_one_run_of_it(server, step, tmp_path):
    here = place(tmp_path / "store")
    first = dispatch.attach(step, here, server)
    assert dispatch.attach(step, here, server) is first
    first.state = Crashed()
    again = dispatch.attach(step, here, server)
    assert again is not first and dispatch.attach(step, here, server) is again


def test_a_step_in_two_stores_is_two_runs(server, step, tmp_path):
    one, other = (dispatch.attach(step, place(tmp_path / name), server) for name in ("one", "other"))
    assert one is not other and len(server.runs) == 2


@pytest.mark.parametrize("listed", [True, False])
def test_a_slow_flow_asks_for_no_run_of_what_a_quicker_one_has_had_made(server, step, tmp_path, monkeypatch, listed):
    """Both saw a run crash; the quicker one's new run has ended before the slow one asks."""
    here = place(tmp_path / "store")
    dispatch.attach(step, here, server).state = Crashed()
    before = server.read_flow_runs
    stale = list(server.runs.values())
    dispatch.attach(step, here, server).state = Completed()
    made(here.store, step, tmp_path)
    monkeypatch.setattr(server, "read_flow_runs", lambda **asked: before(**asked) if listed else stale)
    assert dispatch.attach(step, here, server) is None and len(server.runs) == 2
