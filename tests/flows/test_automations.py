"""The automations on a real Prefect server that other teams use too: this project's lost runs end, other runs are let alone."""

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from flows.deploy.register import SILENT
from infra.prefect_server import local_server
from tests.e2e.home import call
from tests.patience import wait_until

ROOT = Path(__file__).parents[2]


class Server:
    """A server on which `fuse deploy` has registered this project, and another team its own pool, flow and deployment."""

    def __init__(self, api: str):
        self.api = api

    def call(self, path: str, method: str = "POST", **body):
        return call(self.api, method, path, body or None)

    def deployment(self, name: str) -> dict:
        return self.call(f"/deployments/name/{name}", "GET")

    def deploy_foreign(self, flow: str) -> dict:
        """What another team has on this server: nothing that this project knows of."""
        made = self.call("/flows/", name=flow)
        return self.call("/deployments/", name="theirs", flow_id=made["id"], work_pool_name="theirs")

    def run(self, deployment: dict | None = None, flow: str = "alone") -> dict:
        """A flow run in state Running."""
        if deployment:
            run = self.call(f"/deployments/{deployment['id']}/create_flow_run", enforce_parameter_schema=False)
        else:
            run = self.call("/flow_runs/", flow_id=self.call("/flows/", name=flow)["id"])
        self.set_state(run, "RUNNING", "Running")
        return run

    def set_state(self, run: dict, kind: str, name: str) -> None:
        self.call(f"/flow_runs/{run['id']}/set_state", state={"type": kind, "name": name}, force=True)

    def has_seen_start(self, run: dict) -> bool:
        """Whether it has recorded the event of the run's start, which must not come after a heartbeat."""
        chosen = {
            "event": {"name": ["prefect.flow-run.Running"]},
            "resource": {"id": [f"prefect.flow-run.{run['id']}"]},
        }
        return bool(self.call("/events/filter", filter=chosen)["events"])

    def state(self, run: dict) -> str:
        return self.call(f"/flow_runs/{run['id']}", "GET")["state_name"]

    def beat(self, run: dict, seconds: float) -> None:
        """The run's last heartbeat, so long ago, as Prefect's flow engine sends it."""
        related = [{"prefect.resource.id": f"prefect.flow.{run['flow_id']}", "prefect.resource.role": "flow"}]
        if run["deployment_id"]:
            name = f"prefect.deployment.{run['deployment_id']}"
            related += [{"prefect.resource.id": name, "prefect.resource.role": "deployment"}]
        event = {
            "id": str(uuid4()),
            "occurred": (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(),
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run['id']}"},
            "related": related,
        }
        call(self.api, "POST", "/events", [event])

    def look_at_once(self) -> None:
        """The server looks for silent runs once in the window, and at once after a change of the automation."""
        for automation in self.call("/automations/filter"):
            for enabled in (False, True):
                self.call(f"/automations/{automation['id']}", "PATCH", enabled=enabled)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("server")
    with local_server(home / "prefect") as api:
        server = Server(api)
        template = ProcessWorker.get_default_base_job_template()
        server.call("/work_pools/", name="theirs", type="process", base_job_template=template)
        answer = deploy(api, home)
        assert answer.returncode == 0, answer.stderr
        yield server


def deploy(api: str, home: Path) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUSE_", "PREFECT_"))}
    own = {"PREFECT_API_URL": api, "PREFECT_HOME": str(home / "client"), "FUSE_WORKSPACE": str(home)}
    command = [sys.executable, "-m", "flows.cli.main", "deploy"]
    return subprocess.run(command, cwd=ROOT, env=kept | own, capture_output=True, text=True)


def test_only_this_projects_silent_runs_are_crashed(server):
    theirs = server.deploy_foreign("nightly")
    alive = [server.run(server.deployment("fuse/demo")), server.run(theirs), server.run()]
    silent = [server.run(server.deployment(name)) for name in ("fuse/demo", "stage/gpu-train")]
    foreign = [server.run(theirs), server.run()]
    wait_until(lambda: all(server.has_seen_start(run) for run in [*alive, *silent, *foreign]), pause=1)
    for run in alive:
        server.beat(run, 2 * 30)
    for run in [*silent, *foreign]:
        server.beat(run, SILENT.total_seconds() - 1)
    time.sleep(5)
    server.look_at_once()
    wait_until(lambda: all(server.state(run) in ("Crashed", "AwaitingRetry") for run in silent), pause=1)
    time.sleep(10)  # the server looks every five seconds
    assert [server.state(run) for run in foreign] == ["Running", "Running"]
    assert [server.state(run) for run in alive] == ["Running"] * 3


def test_of_crashed_runs_only_those_that_people_start_here_go_on(server):
    """Another team's flow may bear the name of one of ours."""
    ours, theirs = server.run(server.deployment("fuse/demo")), server.run(server.deploy_foreign("evaluate"))
    stage = server.run(server.deployment("stage/gpu-train"))
    for run in (theirs, stage, ours):
        server.set_state(run, "CRASHED", "Crashed")
    wait_until(lambda: server.state(ours) == "AwaitingRetry", pause=1)
    time.sleep(10)
    assert (server.state(theirs), server.state(stage)) == ("Crashed", "Crashed")


@pytest.mark.parametrize("name", ["fuse/demo", "housekeeping/housekeeping", "stage/gpu-train"])
def test_a_run_of_ours_sends_heartbeats_often_enough_on_any_teams_pool(server, name):
    """The worker's environment says something else, and the pool says nothing."""
    pool, deployment = server.call("/work_pools/theirs", "GET"), server.deployment(name)
    values = deployment["job_variables"]
    with temporary_settings({PREFECT_API_URL: server.api}):
        configured = asyncio.run(ProcessJobConfiguration.from_template_and_values(pool["base_job_template"], values))
    assert 3 * int(configured.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= SILENT.total_seconds()


def test_another_teams_pool_with_the_name_of_one_of_ours_stays_as_it_is(server, tmp_path):
    template = ProcessWorker.get_default_base_job_template()
    server.call("/work_pools/cpu", "PATCH", description="Nightly reports.", base_job_template=template)
    answer = deploy(server.api, tmp_path)
    pool = server.call("/work_pools/cpu", "GET")
    assert pool["description"] == "Nightly reports." and pool["base_job_template"] == template
    assert answer.returncode == 2 and "work pool cpu" in answer.stderr
