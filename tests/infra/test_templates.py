"""The files for Docker and Kubernetes, as far as they can be checked without either."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate

from flows.deploy.register import POOLS, SILENT, process_template

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "infra").glob("*/pool-*.json"))


def fill(value, variables):
    """A template with every placeholder replaced by its variable's default, as a worker does it."""
    match value:
        case dict():
            filled = {name: fill(part, variables) for name, part in value.items()}
            return {name: part for name, part in filled.items() if part is not None}
        case list():
            return [fill(part, variables) for part in value]
        case str() if found := re.fullmatch(r"{{ (\w+) }}", value):
            return variables[found[1]].get("default")
        case str():
            return re.sub(r"{{ (\w+) }}", lambda found: str(variables[found[1]].get("default")), value)
    return value


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_prefect_accepts_every_template_and_placeholder(file):
    template = json.loads(file.read_text())
    kind = file.parent.name
    WorkPoolCreate(name="pool", type=kind, base_job_template=template)
    filled = fill(template["job_configuration"], template["variables"]["properties"])
    assert "{{" not in json.dumps(filled)
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def test_gpu_jobs_ask_for_gpus_and_bear_spot_machines():
    template = json.loads((ROOT / "infra" / "kubernetes" / "pool-gpu.json").read_text())
    job = fill(template["job_configuration"], template["variables"]["properties"])["job_manifest"]
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "160G"}
    assert pod["volumes"][1]["emptyDir"]["sizeLimit"] == "16Gi"
    assert job["spec"]["backoffLimit"] == 0  # the flow starts another run: two of one would share a name
    assert any("spot" in f"{each}" for each in pod["tolerations"])
    docker = json.loads((ROOT / "infra" / "docker" / "pool-gpu.json").read_text())
    (request,) = docker["job_configuration"]["container_create_kwargs"]["device_requests"]
    assert request["Capabilities"] == [["gpu"]]


def test_runs_on_every_pool_send_heartbeats_often_enough():
    templates = [json.loads(file.read_text()) for file in TEMPLATES] + [process_template()]
    for template in templates:
        default = template["variables"]["properties"]["env"]["default"]
        assert 3 * int(default["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) <= SILENT.total_seconds()


def test_no_template_holds_a_key():
    for file in TEMPLATES:
        assert not re.search(
            r"AWS_|HF_TOKEN|FUSE_WEBHOOK", json.dumps(json.loads(file.read_text())["job_configuration"])
        )


def test_every_pool_has_a_worker_on_kubernetes_and_in_docker():
    documents = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "workers.yaml").read_text()))
    commands = [
        document["spec"]["template"]["spec"]["containers"][0]["command"]
        for document in documents
        if document["kind"] == "Deployment"
    ]
    assert {command[command.index("--pool") + 1] for command in commands} == set(POOLS)
    script = (ROOT / "infra" / "docker" / "workers.sh").read_text()
    assert all(pool in script for pool in POOLS)


def test_workers_on_kubernetes_watch_the_namespace_in_which_they_may():
    """Unset, Prefect's observer watches the whole cluster."""
    documents = list(yaml.safe_load_all((ROOT / "infra" / "kubernetes" / "workers.yaml").read_text()))
    (role,) = (each for each in documents if each["kind"] == "Role")
    watched = {resource for rule in role["rules"] if "watch" in rule["verbs"] for resource in rule["resources"]}
    assert {"jobs", "pods", "events"} <= watched
    for each in documents:
        if each["kind"] == "Deployment":
            (container,) = each["spec"]["template"]["spec"]["containers"]
            environment = {one["name"]: one["value"] for one in container["env"]}
            assert environment["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"] == role["metadata"]["namespace"]


def test_the_dockerfile_copies_what_exists():
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "infra" / "docker" / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert names and all((ROOT / name).exists() for name in names)
