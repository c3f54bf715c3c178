"""The laws of the house, executed."""

import copy
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "vllm", "transformers", "trl", "peft", "deepspeed", "accelerate", "prefect", "datasets")


OFFENCES = {  # contract -> what breaks it: a file, and a line at its end
    "flows → tasks → infra, never back": [
        ("infra/names.py", "import tasks.stage"),
        ("tasks/records.py", "import flows.plan"),
    ],
    "rooms never import rooms: the DAG exists only in flows": [("tasks/pairs/stage.py", "import tasks.splits.stage")],
    "planning, orchestration and storage load no heavy library": [
        ("tasks/demo/skills.py", "import torch"),  # reached through tasks.prompts.stage
        ("flows/cli/lineage.py", "def late():\n    from transformers import pipeline"),
    ],
    "data sets on a hub are known to one file of infra": [("tasks/prompts/reading.py", "import datasets")],
    "only flows.run and flows.deploy know Prefect": [
        ("tasks/execution.py", "import prefect"),
        ("flows/plan.py", "import prefect"),
        ("flows/deploy/stack.py", "import flows.deploy.register"),
    ],
}


def test_import_contracts_hold():
    answer = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout


def contracts() -> dict[str, dict]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {contract["name"]: contract for contract in found}


def test_every_contract_is_seen_broken():
    assert set(contracts()) == set(OFFENCES)


def test_every_room_with_a_stage_is_independent():
    """A new room that is missing in the contract could import the others."""
    _, apart, *_ = contracts().values()
    assert set(apart["modules"]) == {f"tasks.{file.parent.name}" for file in (ROOT / "tasks").glob("*/stage.py")}


STORAGE = ("infra.store", "infra.blobs", "infra.bucket", "infra.launch")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("flows", "tasks", "infra")


def programs_that_reach_storage(graph: grimp.ImportGraph) -> list[str]:
    programs = (file for file in (ROOT / "tasks").rglob("*.py") if '__name__ == "__main__"' in file.read_text())
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in programs]
    assert len(names) > 15
    return [name for name in names if any(graph.chain_exists(name, storage) for storage in STORAGE)]


def test_a_program_knows_files_and_no_storage(imports):
    assert programs_that_reach_storage(imports) == []


def test_a_program_that_knew_storage_would_be_found(imports):
    graph = copy.deepcopy(imports)
    graph.add_import(importer="tasks.program", imported="infra.store")
    assert "tasks.scores.transformers_program" in programs_that_reach_storage(graph)


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> dict[str, str]:
    """Every offence added to a copy of the code, and what the linter then prints below each contract's name."""
    copied = tmp_path_factory.mktemp("broken")
    for folder in ("flows", "tasks", "infra"):
        shutil.copytree(ROOT / folder, copied / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copied)
    for file, line in (each for many in OFFENCES.values() for each in many):
        with (copied / file).open("a") as code:
            code.write(f"\n\n{line}\n")
    lint = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    answer = subprocess.run(lint, cwd=copied, capture_output=True, text=True)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    parts = re.split(r"^(.+)\n-{5,}$", answer.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(
    ("contract", "file", "line"), [(contract, *each) for contract, many in OFFENCES.items() for each in many]
)
def test_a_contract_is_broken_by_one_import(broken, contract, file, line):
    """A contract that names a module wrongly, or a module that is gone, would hold with any import."""
    importer, imported = file.removesuffix(".py").replace("/", "."), re.search(r"(?:import|from) ([\w.]+)", line)[1]
    assert re.search(rf"\b{re.escape(importer)} -> {re.escape(imported)} \(l", broken[contract]), broken[contract]


@pytest.mark.parametrize(
    "module",
    [
        "flows.cli.main",
        "flows.plan",
        "flows.fusion",
        "flows.cli.console",
        "flows.cli.lineage",
        "flows.deploy.stack",
        "flows.deploy.stack_keeper",
        "tasks.execution",
        "tasks.prompts.stage",
    ],
)
def test_planning_loads_nothing_heavy(module):
    """What import-linter reads as text, seen at run time, libraries included."""
    code = f"import {module}, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


@pytest.mark.parametrize("package", ["flows", "tasks", "infra"])
def test_no_stray_package_shadows_ours(package):
    answer = subprocess.run(
        [sys.executable, "-c", f"import {package}; print({package}.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert Path(answer.stdout.strip()).parent.parent == ROOT


def test_the_environment_is_read_in_one_file():
    readers = [
        file.relative_to(ROOT).as_posix()
        for folder in ("flows", "tasks", "infra")
        for file in (ROOT / folder).rglob("*.py")
        if "os.environ" in file.read_text() or "getenv" in file.read_text()
    ]
    assert readers == ["infra/settings.py"]


def test_the_example_environment_mirrors_the_settings():
    from infra.settings import Settings

    lines = (ROOT / ".env.example").read_text().splitlines()
    shown = {line.split("=")[0] for line in lines if line.startswith("FUSE_")}
    assert shown == {f"FUSE_{name.upper()}" for name in Settings.model_fields}


def test_help_costs_little_more_than_python_itself():
    assert seconds("-m", "flows.cli.main", "--help") < 5 * seconds("-c", "pass")


def seconds(*words: str) -> float:
    """The processor's, the least of three."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)
