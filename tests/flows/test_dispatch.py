"""Which runs of a step a flow follows: one per step, share and store, and none where a quicker flow has had it made."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending
from prefect.utilities.schema_tools.validation import validate

from flows.config.loading import load_recipe
from flows.deploy.register import process_template
from flows.fusion import fusion
from flows.run import pool_runs as errands
from flows.run import work_pools as dispatch
from flows.run.packed_step import pack_step
from flows.run.pool_runs import Errand, attach_run
from flows.workspace import Workspace
from infra.errors import ProgramFailed, Unavailable
from infra.launch import Launcher
from infra.store import Store
from tasks.execution import Share
from tasks.stage import Step, lineage
from tests.flows.test_gc import made

TEMPLATES = sorted((Path(__file__).parents[2] / "infra").glob("*/pool-gpu.json"))
SHARED = "how.engines.mirror={kind='transformers', work_pool='gpu-sample', shares=3}"


@dataclass
class Server:
    """Keeps runs as Prefect's server does: by tags, and one per idempotency key. A test says how they end."""

    runs: dict[str, SimpleNamespace] = field(default_factory=dict)
    ends: dict[str, list] = field(default_factory=dict)  # name of a run -> states, of one such run after the other

    def read_flow_runs(self, flow_run_filter, sort):
        return [run for run in self.runs.values() if set(flow_run_filter.tags.all_) <= set(run.tags)]

    def run_deployment(self, name, parameters, idempotency_key, tags, flow_run_name, timeout, job_variables):
        run = SimpleNamespace(
            id=uuid4(), name=flow_run_name, tags=tags, state=Pending(), asked=parameters, variables=job_variables
        )
        return self.runs.setdefault(idempotency_key, run)

    def read_flow_run(self, wanted):
        (run,) = (run for run in self.runs.values() if run.id == wanted)
        end = self.ends.get(run.name, [Completed()])
        run.state = end.pop(0) if len(end) > 1 else end[0]
        return run

    def names(self) -> list[str]:
        return [run.name.rsplit(" · ", 1)[0] for run in self.runs.values()]


@pytest.fixture
def server(monkeypatch):
    server = Server()

    @contextmanager
    def client(sync_client):
        yield server

    monkeypatch.setattr(errands, "run_deployment", server.run_deployment)
    monkeypatch.setattr(errands, "POLL", 0.01)
    for module in (dispatch, errands):
        monkeypatch.setattr(module, "get_client", client)
    return server


def step_of(label: str, *overrides: str) -> Step:
    return next(step for step in lineage(fusion(load_recipe("demo", overrides))) if step.label == label)


@pytest.fixture
def step():
    return step_of("WRPO", "how.wrpo.work_pool=gpu-train")


@pytest.fixture
def shared():
    return step_of("per-model sampling · mirror", SHARED)


def place(folder) -> Workspace:
    return Workspace(Store(str(folder), folder / "cache"), Launcher(1, 1), folder)


def test_flows_that_need_a_step_follow_one_run_of_it(server, step, tmp_path):
    here = place(tmp_path / "store")
    first = attach_run(Errand(step), here, server)
    assert attach_run(Errand(step), here, server) is first
    first.state = Crashed()
    again = attach_run(Errand(step), here, server)
    assert again is not first and attach_run(Errand(step), here, server) is again


@pytest.mark.parametrize(
    ("engine", "variables"),
    [
        ("tensor_parallel = 8", {"gpus": 8}),
        ("tensor_parallel = 2, workers = 3, memory_gb = 400, shared_memory_gb = 32",
         {"gpus": 6, "memory_gb": 400, "shared_memory_gb": 32}),
    ],
)  # fmt: skip
def test_a_run_asks_its_pool_for_the_machine_that_its_step_needs(server, tmp_path, engine, variables):
    said = f"how.engines.mirror={{ kind = 'vllm', work_pool = 'gpu-sample', {engine} }}"
    run = attach_run(Errand(step_of("per-model sampling · mirror", said)), place(tmp_path / "store"), server)
    assert run.variables == variables
    for template in (process_template(), *(json.loads(file.read_text()) for file in TEMPLATES)):
        assert validate(variables, template["variables"]) == []  # as the server does


def test_a_step_in_two_stores_is_two_runs(server, step, tmp_path):
    one, other = (attach_run(Errand(step), place(tmp_path / name), server) for name in ("one", "other"))
    assert one is not other and len(server.runs) == 2


@pytest.mark.parametrize("listed", [True, False])
def test_a_slow_flow_asks_for_no_run_of_what_a_quicker_one_has_had_made(server, step, tmp_path, monkeypatch, listed):
    """Both saw a run crash; the quicker one's new run has ended before the slow one asks."""
    here = place(tmp_path / "store")
    attach_run(Errand(step), here, server).state = Crashed()
    before = server.read_flow_runs
    stale = list(server.runs.values())
    attach_run(Errand(step), here, server).state = Completed()
    made(here.store, step, tmp_path)
    monkeypatch.setattr(server, "read_flow_runs", lambda **asked: before(**asked) if listed else stale)
    assert attach_run(Errand(step), here, server) is None and len(server.runs) == 2


def test_shares_are_named_runs_and_one_run_makes_the_step(server, shared, tmp_path):
    here, seen = place(tmp_path / "store"), []
    observe = lambda step, *said: seen.append(said)
    with pytest.raises(RuntimeError, match="not in the store"):  # nobody works here; the last run is believed least
        dispatch.dispatch_step(shared, here, observe)
    label = "per-model sampling · mirror"
    assert sorted(server.names()[:3]) == [f"{label} · share {number} of 3" for number in (1, 2, 3)]
    assert server.names()[3:] == [label] and all(
        run.name.endswith(shared.fingerprint[:8]) for run in server.runs.values()
    )
    asked = [run.asked.get("share") for run in server.runs.values()]
    assert sorted(one["number"] for one in asked[:3]) == [1, 2, 3] and asked[3] is None
    assert all(run.asked["step"] == pack_step(shared).model_dump(mode="json") for run in server.runs.values())
    assert ("running", 3, 3, "shares") in seen


def test_a_lost_share_is_tried_again_and_the_step_makes_its_rest(server, shared, tmp_path):
    name = lambda number: f"per-model sampling · mirror · share {number} of 3 · {shared.fingerprint[:8]}"
    server.ends = {name(1): [Crashed(), Completed()], name(2): [Crashed()], name(3): [Failed(message="out of memory")]}
    here, told = place(tmp_path / "store"), []
    with pytest.raises(RuntimeError, match="not in the store"):
        dispatch.dispatch_step(shared, here, lambda step, doing, *numbers: told.append(doing))
    times = {number: [run.name for run in server.runs.values()].count(name(number)) for number in (1, 2, 3)}
    assert times == {1: 2, 2: errands.ATTEMPTS, 3: 1} and server.names()[-1] == "per-model sampling · mirror"
    assert f"{name(3)} failed: out of memory" in told


def test_of_a_shared_step_that_was_made_meanwhile_no_run_is_asked(server, shared, tmp_path):
    here = place(tmp_path / "store")
    made(here.store, shared, tmp_path)
    assert dispatch.dispatch_step(shared, here, lambda *said: None) and not server.runs


def test_shares_that_no_worker_takes_now_are_tried_again(server, shared, tmp_path):
    name = f"per-model sampling · mirror · share 2 of 3 · {shared.fingerprint[:8]}"
    server.ends = {name: [Failed(name=dispatch.UNAVAILABLE, message="no GPU")]}
    with pytest.raises(Unavailable, match="no GPU"):
        dispatch.dispatch_step(shared, place(tmp_path / "store"), lambda *said: None)
    assert len(server.runs) == 3


def test_a_flow_that_ends_takes_its_shares_along(server, shared, tmp_path):
    here, told = place(tmp_path / "store"), []
    server.set_flow_run_state = lambda run, state: told.append(run)
    here.launcher.stopped.set()
    with pytest.raises(ProgramFailed, match="the flow that started it ended"):
        dispatch.dispatch_step(shared, here, lambda *said: None)
    assert sorted(told) == sorted(run.id for run in server.runs.values()) and len(told) == 3


def test_flows_with_a_shared_step_follow_the_same_runs(server, shared, tmp_path):
    here, share = place(tmp_path / "store"), Share(number=2, of=3)
    first = attach_run(Errand(shared, share), here, server)
    assert attach_run(Errand(shared, share), here, server) is first
    assert attach_run(Errand(shared, Share(number=1, of=3)), here, server) is not first
    whole = attach_run(Errand(shared), here, server)
    assert whole not in (first, attach_run(Errand(shared, share), here, server))
    asked = len(server.runs)
    with pytest.raises(RuntimeError, match="not in the store"):
        dispatch.dispatch_step(shared, here, lambda *said: None)  # the whole is under way
    assert len(server.runs) == asked == 3


def test_a_share_cancelled_by_a_person_is_not_asked_for_again(server, shared, tmp_path):
    share = Errand(shared, Share(number=2, of=3))
    here = place(tmp_path / "store")
    run = attach_run(share, here, server)
    server.ends = {run.name: [Cancelled()]}
    assert errands.carried_out(share, here, lambda *said: None) is run and len(server.runs) == 1
    other = attach_run(share, here, server)
    other.tags = [*other.tags[:2], "asked-by:another flow"]
    server.ends = {run.name: [Cancelled(), Completed()]}
    assert errands.carried_out(share, here, lambda *said: None).state.is_completed() and len(server.runs) == 3
