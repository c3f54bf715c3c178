"""Follows the Dockerfile's steps without Docker: builds the GPU image's environments from the same locks in a scratch folder,
then imports each program in the environment that runs it. `make image-env`; gigabytes, minutes.

The base image's Python is this one, /app and /opt are folders of the scratch folder, and steps of the system (apt-get, users)
are left out; git and bubblewrap must be on this machine. Without a GPU the ARG VLLM_LOCK is the lock for a CPU.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
SYSTEM = ("apt-get ", "useradd ")  # steps that need root; the programs that they install are looked for
INSTALLED = ("git", "bwrap")
ELSEWHERE = ("lm_eval_program", "live_bench_program")  # they run in environments of the user
LIBRARIES = ("deepspeed", "bitsandbytes", "prefect")  # of the flow and the trainings, beside what programs import


def list_steps(text: str) -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions, as (word, rest)."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def plan_commands(text: str, scratch: Path, **arguments: str) -> Iterator[list[str]]:
    """What the steps do below the scratch folder, as commands; an unknown instruction raises ValueError."""
    app = scratch / "app"
    known: dict[str, str] = {}
    yield [sys.executable, "-m", "venv", str(scratch / "python")]
    yield ["mkdir", "-p", str(app)]
    for word, rest in list_steps(text):
        match word:
            case "ARG":
                name, _, value = rest.partition("=")
                known[name] = arguments.get(name, value)
            case "COPY":
                *names, _ = rest.split()
                yield ["cp", "-r", *(str(ROOT / name) for name in names), str(app)]
            case "RUN" if not rest.startswith(SYSTEM):
                filled = re.sub(r"\$\{(\w+)\}", lambda found: known[found[1]], rest)
                yield place_command(filled.split(), scratch)
            case "RUN" | "FROM" | "WORKDIR" | "USER" | "ENV" | "CMD":
                pass
            case _:
                raise ValueError(f"{DOCKERFILE}: no such instruction is followed here: {word}")


def place_command(words: list[str], scratch: Path) -> list[str]:
    """The same command with the scratch folder's Python and paths."""
    placed = [word.replace("/opt/", f"{scratch}/opt/") if word.startswith("/opt/") else word for word in words]
    if placed[0] in ("pip", "python"):
        placed[0] = str(scratch / "python" / "bin" / placed[0])
    return placed


def list_programs() -> list[str]:
    """The modules that run as programs."""
    files = sorted((ROOT / "tasks").rglob("*.py"))
    runs = lambda file: re.search(r"^    (program\.)?run_program\(", file.read_text(), re.MULTILINE)
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if runs(file))
    return [name for name in names if name.rpartition(".")[2] not in ELSEWHERE]


def list_imports(scratch: Path) -> Iterator[list[str]]:
    """Commands that import each program, and the libraries beside them, in their environments."""
    programs = list_programs()
    of_vllm = [name for name in programs if name.rpartition(".")[2].startswith("vllm_")]
    rest = [*LIBRARIES, *(name for name in programs if name not in of_vllm)]
    for python, names in (("python", rest), ("opt/vllm", of_vllm)):
        for name in names:
            yield [str(scratch / python / "bin" / "python"), "-c", f"import {name}"]


def build(scratch: Path) -> None:
    if lacking := [name for name in INSTALLED if shutil.which(name) is None]:
        sys.exit(f"the image has {', '.join(lacking)}, this machine has not")
    lock = f"requirements-vllm-{'gpu' if shutil.which('nvidia-smi') else 'cpu'}.lock"
    scratch.mkdir(parents=True, exist_ok=True)
    for command in (*plan_commands(DOCKERFILE.read_text(), scratch, VLLM_LOCK=lock), *list_imports(scratch)):
        print(" ".join(command), flush=True)
        app = scratch / "app"
        subprocess.run(command, cwd=app if app.exists() else scratch, check=True)
    print(f"the image's environments are complete: {scratch}")


if __name__ == "__main__":
    build(Path(sys.argv[1]).absolute())
