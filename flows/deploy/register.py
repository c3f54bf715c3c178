"""Registers this project on a Prefect server: work pools, the deployments of prefect.yaml, automations.

Can be run repeatedly. An existing pool keeps its type: create Docker and Kubernetes pools from the templates in `infra/`
first. Process pools get this machine's Python. Other teams may use the server: automations act only on runs of this
project's deployments, and a process pool of another project with the same name is refused.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import cast

import yaml
from prefect import get_client
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.utilities.importtools import import_object
from prefect.workers.process import ProcessWorker

from infra.errors import BadInput

ROOT = Path(__file__).parents[2]
POOLS = {
    "cpu": "Runs the flows themselves and the stages that need no GPU.",
    "gpu-sample": "Per-model sampling: inference, many short jobs.",
    "gpu-score": "Reward annotation: inference of the reward model.",
    "gpu-train": "SFT and WRPO: training, few long jobs.",
}
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}  # seconds, the shortest that Prefect allows
SILENT = timedelta(seconds=4 * 30)  # three heartbeats are missing, and the next one had 30 s to reach a busy server
SETTLED = timedelta(seconds=15)  # Prefect reports a crash twice, seconds apart; a restart must wait for both reports
STARTED_BY_PEOPLE = ResourceSpecification(
    {"prefect.resource.role": "flow", "prefect.resource.name": ["fuse", "ablate", "evaluate"]}
)
ANY_FLOW_RUN = ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]})


def register_deployments() -> None:
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
    with get_client(sync_client=True) as client:
        ours = match_deployments(client)
    for automation in (crash_the_silent(ours), restart_the_crashed(ours)):
        replace_automation(automation)


def match_deployments(client: SyncPrefectClient) -> ResourceSpecification:
    """Matches events of runs of prefect.yaml's deployments. Other teams use the server too, with other heartbeats."""
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    names = [f"{import_object(each['entrypoint']).name}/{each['name']}" for each in written]
    ids = [f"prefect.deployment.{client.read_deployment_by_name(name).id}" for name in names]
    return ResourceSpecification({"prefect.resource.role": "deployment", "prefect.resource.id": ids})


def register_pool(client: SyncPrefectClient, name: str, description: str) -> None:
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        pool = WorkPoolCreate(name=name, type="process", description=description, base_job_template=process_template())
        client.create_work_pool(pool)
        return
    if found.type == "process":
        if found.description not in POOLS.values():
            raise BadInput(
                f"work pool {name}: exists, but its description shows that it is not this project's; use another server"
            )
        client.update_work_pool(name, WorkPoolUpdate(description=description, base_job_template=process_template()))


def process_template() -> dict:
    """Runs a flow as a process of the worker's Python. Its output goes to Prefect's log and not through the worker's pipes,
    because the run may outlive the worker."""
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["command"]["default"] = f"{sys.executable} -m prefect.engine"
    variables["stream_output"]["default"] = False
    variables["working_dir"]["default"] = str(ROOT)
    variables["env"]["default"] = HEARTBEAT
    return template


def crash_the_silent(ours: ResourceSpecification) -> Automation:
    """Marks a run as crashed if it sends no heartbeats: its worker is gone, and nothing else would end the run. Prefect looks
    once per window."""
    return Automation(
        name="fuse: crash runs without heartbeat",
        description=f"A run of fuse's deployments without a heartbeat for {SILENT.seconds} s has lost its worker.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ANY_FLOW_RUN,
            match_related=ours,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT,
        ),
        actions=[  # pyright: ignore[reportArgumentType]
            ChangeFlowRunState(  # pyright: ignore[reportCallIssue]
                state=StateType.CRASHED, message=f"no heartbeat for {SILENT.seconds} s"
            )
        ],
    )


def restart_the_crashed(ours: ResourceSpecification) -> Automation:
    """Restarts crashed flows that people start. Not the runs of single stages: the flow that asked for them replaces them."""
    return Automation(
        name="fuse: go on with crashed runs",
        description="Starts a crashed run again; it finds its finished steps in the store.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Crashed"},
            expect={"prefect.flow-run.*"},
            match=ANY_FLOW_RUN,
            match_related=[ours, STARTED_BY_PEOPLE],
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SETTLED,
        ),
        actions=[  # pyright: ignore[reportArgumentType]
            ChangeFlowRunState(  # pyright: ignore[reportCallIssue]
                state=StateType.SCHEDULED, name="AwaitingRetry", message="crashed; it will continue where it stopped"
            )
        ],
    )


def replace_automation(automation: Automation) -> None:
    try:
        found = cast("Automation", Automation.read(name=automation.name))
    except ValueError:  # Prefect's error for an unknown name
        automation.create()
        return
    automation.id = found.id
    automation.update()


if __name__ == "__main__":
    register_deployments()
