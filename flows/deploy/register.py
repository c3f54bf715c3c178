"""Registers this project on a Prefect server: work pools, the deployments of prefect.yaml, automations.

Can be run repeatedly. An existing pool keeps its type: create Docker and Kubernetes pools from the templates in `infra/`
first. Process pools get this machine's Python.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from prefect import get_client
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from infra.errors import BadInput

ROOT = Path(__file__).parents[2]
POOLS = {
    "cpu": "Runs the flows themselves and the stages that need no GPU.",
    "gpu-sample": "Per-model sampling: inference, many short jobs.",
    "gpu-score": "Reward annotation: inference of the reward model.",
    "gpu-train": "SFT and WRPO: training, few long jobs.",
}
SILENT = timedelta(seconds=90)  # three heartbeats at the shortest interval that Prefect allows
SETTLED = timedelta(seconds=15)  # Prefect reports a crash twice, seconds apart; a restart must wait for both reports
ANY_FLOW_RUN = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})


def register() -> None:
    with get_client(sync_client=True) as client:
        for name, description in POOLS.items():
            register_pool(client, name, description)
    answer = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise BadInput(f"prefect.yaml: the deployments were refused:\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}")
    for automation in (crash_the_silent(), restart_the_crashed()):
        replace(automation)


def register_pool(client: SyncPrefectClient, name: str, description: str) -> None:
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(name=name, type="process", description=description, base_job_template=process_template())
        client.create_work_pool(pool)
        return
    if found.type == "process":
        client.update_work_pool(name, WorkPoolUpdate(description=description, base_job_template=process_template()))


def process_template() -> dict:
    """Runs a flow as a process of the worker's Python. Its output goes to Prefect's log and not through the worker's pipes,
    because the run may outlive the worker."""
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["command"]["default"] = f"{sys.executable} -m prefect.engine"
    variables["stream_output"]["default"] = False
    variables["working_dir"]["default"] = str(ROOT)
    return template


def crash_the_silent() -> Automation:
    """Marks a run as crashed if it sends no heartbeats: its worker is gone, and nothing else would end the run."""
    return Automation(
        name="fuse: crash runs without heartbeat",
        description="A running flow run without a heartbeat for 90 s has lost its worker.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ANY_FLOW_RUN,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {SILENT.seconds} s")],
    )


def restart_the_crashed() -> Automation:
    """Restarts crashed flows that people start. Not the runs of single stages: the flow that asked for them replaces them."""
    return Automation(
        name="fuse: go on with crashed runs",
        description="Starts a crashed run again; it finds its finished steps in the store.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Crashed"},
            expect={"prefect.flow-run.*"},
            match=ANY_FLOW_RUN,
            match_related=ResourceSpecification(
                {"prefect.resource.role": "flow", "prefect.resource.name": ["fuse", "ablate", "evaluate"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SETTLED,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", message="crashed; it will continue where it stopped"
            )
        ],
    )


def replace(automation: Automation) -> None:
    try:
        found = Automation.read(name=automation.name)
    except ValueError:  # Prefect's error for an unknown name
        automation.create()
        return
    automation.id = found.id
    automation.update()


if __name__ == "__main__":
    register()
