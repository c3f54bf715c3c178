"""The environment, read once and here only; `.env.example` mirrors it field by field."""

import os
import sys
from functools import cache
from pathlib import Path

from dotenv import load_dotenv
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import BadInput

ROOT = Path(__file__).parents[1]


class Settings(BaseSettings):
    """Where things are on this machine. Nothing here changes a result."""

    model_config = SettingsConfigDict(env_prefix="FUSE_", extra="ignore", frozen=True)

    workspace: Path = Field(
        default=Path(".fuse"), description="local folder for scratch files, caches, reports and Prefect's history"
    )
    store: str = Field(
        default="",
        description="where artifacts live: a folder, file://… or s3://bucket/prefix; default WORKSPACE/store",
    )
    programs: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="largest number of programs at the same time; 0: one for each free GPU, and at most two that need no GPU",
    )
    threads: int = Field(
        default=0, ge=0, le=4096, description="CPU threads per program; 0: the cores shared out evenly"
    )
    warm: bool = Field(
        default=True,
        description="true: programs start quickly, from a process that has loaded their libraries; false: each loads them",
    )
    reward_key: SecretStr = Field(
        default=SecretStr(""), description="the key of the endpoints that serve reward models"
    )
    gpus: int = Field(
        default=0,
        ge=0,
        description="GPUs that a work pool's worker needs here; fewer: its work is put back and tried again",
    )
    ledger: Path = Field(
        default=Path(f"/tmp/fuse-gpus-{os.getuid()}"),
        description="folder in which your processes on this machine note which GPUs they have; a local one, for you alone",
    )
    webhook: SecretStr = Field(
        default=SecretStr(""),
        description='where runs of deployments tell how they ended: {"text": …} by POST, as Slack takes it',
    )
    ui_port: int = Field(
        default=4200, gt=0, lt=65536, description="fuse up: where Prefect's UI answers on this machine"
    )
    s3_port: int = Field(
        default=8333, gt=0, lt=65536, description="fuse up: where the S3 server answers, unless STORE is set"
    )
    database: SecretStr = Field(
        default=SecretStr(""),
        description="fuse up: Prefect's database, postgresql+asyncpg://…; default SQLite in WORKSPACE",
    )
    harness_python: str = Field(
        default="", description="the Python of the environment that has lm-eval, for benchmarks"
    )
    livebench_python: str = Field(default="", description="the Python of the environment that has LiveBench")
    judge_key: SecretStr = Field(default=SecretStr(""), description="the key of the judge's endpoint")
    lease_seconds: float = Field(
        default=90, gt=0, le=86_400, description="a silent worker loses its claim on a stage after this long"
    )
    save_seconds: float = Field(
        default=20,
        ge=0,
        le=86_400,
        description="after an interruption, seconds that a program has to report that it saves; otherwise it is killed",
    )
    vllm: Path = Field(default=Path(".venv-vllm"), description="vLLM's own environment, which make vllm makes")

    @field_validator("workspace", "vllm", "ledger")
    @classmethod
    def named(cls, folder: Path) -> Path:
        """A variable that is there and empty would be the folder that one happens to be in."""
        if folder == Path() or not str(folder).isprintable():
            raise ValueError("should name a folder")
        return folder

    @property
    def store_url(self) -> str:
        """Whole, so that it is the same one for whoever works elsewhere."""
        if "://" in self.store:
            return self.store
        return str((Path(self.store).expanduser() if self.store else self.workspace / "store").absolute())

    @property
    def slots(self) -> int:
        return self.programs or min(2, count_cores())

    def threads_beside(self, gpus: int) -> int:
        """Threads of a program, where as many run at once as there are GPUs or slots."""
        return self.threads or max(1, count_cores() // max(self.slots, min(gpus, self.programs or gpus)))


def count_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def settings() -> Settings:
    """From the environment, to which `.env` adds what is not set; libraries find their own variables there too."""
    try:
        load_dotenv(".env")
        return Settings()
    except UnicodeDecodeError as problem:
        raise BadInput(f".env: is not UTF-8: {problem}") from problem
    except ValidationError as problem:
        first = problem.errors()[0]
        name = f"FUSE_{'.'.join(str(part) for part in first['loc']).upper()}"
        raise BadInput(f"{name}: {first['msg']}, not {first['input']!r:.80}") from problem


ALLOWED = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE"}
ALLOWED |= {"PYTHONPATH", "VIRTUAL_ENV"}  # a program that is not ours may find its modules by them
ALLOWED |= {"HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"}
ALLOWED |= {"HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "TOKENIZERS_PARALLELISM"}
ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_")


def allowed_environment() -> dict[str, str]:
    """For a program that is not part of this project. A list of what is allowed: a variable that holds a key, a password or
    an address may have any name."""
    allowed = lambda name: name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    return {name: value for name, value in os.environ.items() if allowed(name)}


def closed_environment() -> dict[str, str]:
    """For a program that handles what models wrote: it finds our modules by path, and none in the folder where it works."""
    return {**allowed_environment(), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def program_environment(threads: int, closed: bool = False) -> dict[str, str]:
    """What a program inherits: this environment, with thread counts set and every library kept from phoning home."""
    return {
        **(closed_environment() if closed else os.environ),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # models and rows come to a program as files
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }


def replace_environment(values: dict[str, str]) -> None:
    """In a program that was forked: it has its own from here on."""
    os.environ.clear()
    os.environ.update(values)
    settings.cache_clear()


def vllm_environment() -> dict[str, str]:
    """The variables that vLLM reads beside these; a variable that is set already stays."""
    return (
        {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine is in the worker, and dies with it
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; else a share of all memory
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # else a core is kept free, where there may be two
        }
        | {name: value for name, value in os.environ.items() if name.startswith("VLLM_")}
        | other_python_environment()
    )


def other_python_environment() -> dict[str, str]:
    """Our code comes to another environment's Python by path, being installed elsewhere."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def visible_gpus() -> list[str] | None:
    """The GPUs that this process may use, where somebody has said so."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if given is None else [name.strip() for name in given.split(",")]


def read_secret(name: str) -> str:
    """A key out of the environment (or `.env`), by the name that a recipe gives; it goes nowhere but to its server."""
    settings()
    if not (value := os.environ.get(name, "").strip()):  # a key out of a file has the file's last line break
        raise BadInput(f"{name}: is not set; the recipe names it as the variable that holds a key")
    return value


def server_environment(home: Path) -> dict[str, str]:
    """What a Prefect server of this workspace's own starts with: its home, no UI, no reports to anyone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # whole seconds: less is 0, a busy loop
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }


def stack_environment(folder: Path, own: dict[str, str]) -> dict[str, str]:
    """What the processes of `fuse up` start with: this environment, `.env` included, and their own stack's places."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "FUSE_WORKSPACE": str(settings().workspace.absolute()),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "5",  # of what a cancelled run had started
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_CLI_WRAP_LINES": "false",
        "DO_NOT_TRACK": "1",
        **own,
    }


def quieten_prefect() -> None:
    """Before Prefect is imported: its home is the workspace, its log lines make room for ours."""
    os.environ.setdefault("PREFECT_HOME", str(settings().workspace.absolute() / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def api_given() -> str | None:
    """The address of a Prefect server that somebody runs for us."""
    settings()
    return os.environ.get("PREFECT_API_URL")
