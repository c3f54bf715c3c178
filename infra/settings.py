"""Reads environment variables once; no other module reads them. `.env.example` mirrors the fields."""

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
    """Paths and limits of this machine. No setting here changes a result."""

    model_config = SettingsConfigDict(env_prefix="FUSE_", extra="ignore", frozen=True)

    workspace: Path = Field(
        default=Path(".fuse"), description="local folder for scratch files, caches, reports and Prefect's history"
    )
    store: str = Field(
        default="",
        description="where artifacts are stored: a folder, file://… or s3://bucket/prefix; default WORKSPACE/store",
    )
    store_group: str = Field(
        default="",
        description="for a folder store of several users: the group that owns what is stored; its members may write",
    )
    programs: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="largest number of programs that run at the same time; 0: one for each free GPU, and at most two without GPU",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="CPU threads per program; 0: the cores are divided evenly among the programs",
    )
    warm: bool = Field(
        default=True,
        description="true: programs start quickly, from a process that has loaded the libraries; false: each program loads them",
    )
    reward_key: SecretStr = Field(
        default=SecretStr(""), description="the key of the endpoints that serve reward models"
    )
    gpus: int = Field(
        default=0,
        ge=0,
        description="number of GPUs that a work pool's worker needs here; with fewer GPUs its work is returned and tried again",
    )
    ledger: Path = Field(
        default=Path(f"/tmp/fuse-gpus-{os.getuid()}"),
        description="local folder, readable only by you, in which your processes on this machine record which GPUs they use",
    )
    webhook: SecretStr = Field(
        default=SecretStr(""),
        description='URL that receives the result of each run of a deployment: {"text": …} by POST, in the form of Slack',
    )
    ui_port: int = Field(default=4200, gt=0, lt=65536, description="fuse up: port of Prefect's UI on this machine")
    s3_port: int = Field(
        default=8333, gt=0, lt=65536, description="fuse up: port of the S3 server, unless STORE is set"
    )
    database: SecretStr = Field(
        default=SecretStr(""),
        description="fuse up: Prefect's database, postgresql+asyncpg://…; default SQLite in WORKSPACE",
    )
    harness_python: str = Field(default="", description="the Python of an environment that has lm-eval, for benchmarks")
    livebench_python: str = Field(default="", description="the Python of an environment that has LiveBench")
    judge_key: SecretStr = Field(default=SecretStr(""), description="the key of the judge's endpoint")
    lease_seconds: float = Field(
        default=90,
        gt=0,
        le=86_400,
        description="seconds after which a worker that does not renew its lease loses its stage",
    )
    save_seconds: float = Field(
        default=20,
        ge=0,
        le=86_400,
        description="after an interruption, seconds in which a program must report that it saves; otherwise it is killed",
    )
    vllm: Path = Field(default=Path(".venv-vllm"), description="the separate environment of vLLM; make vllm creates it")

    @field_validator("workspace", "vllm", "ledger")
    @classmethod
    def named(cls, folder: Path) -> Path:
        """Refuses an empty variable, since it would mean the current folder."""
        if folder == Path() or not str(folder).isprintable():
            raise ValueError("must be the path of a folder")
        return folder

    @property
    def store_url(self) -> str:
        """The store's address; a folder as an absolute path, so that it is valid from any working directory."""
        if "://" in self.store:
            return self.store
        return str((Path(self.store).expanduser() if self.store else self.workspace / "store").absolute())

    @property
    def slots(self) -> int:
        return self.programs or min(2, count_cores())

    def threads_beside(self, gpus: int) -> int:
        """Threads per program if as many programs run at once as there are GPUs or slots."""
        return self.threads or max(1, count_cores() // max(self.slots, min(gpus, self.programs or gpus)))


def count_cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@cache
def settings() -> Settings:
    """Reads the settings from the environment; `.env` adds unset variables, also those of libraries."""
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
ALLOWED |= {"PYTHONPATH", "VIRTUAL_ENV"}  # an external program may need them to find its modules
ALLOWED |= {"HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"}
ALLOWED |= {"HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "TOKENIZERS_PARALLELISM"}
ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_")


def allowed_environment() -> dict[str, str]:
    """The environment for a program outside this project. It lists allowed names, since a variable that holds a key, a
    password or an address may have any name."""
    allowed = lambda name: name in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    return {name: value for name, value in os.environ.items() if allowed(name)}


def closed_environment() -> dict[str, str]:
    """The environment for a program that handles text from models: it imports our modules by path, and none from its
    working directory."""
    return {**allowed_environment(), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def program_environment(threads: int, closed: bool = False) -> dict[str, str]:
    """The environment of a program: ours, with thread counts, and without telemetry or downloads by libraries."""
    return {
        **(closed_environment() if closed else os.environ),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",  # a program gets models and rows as local files
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }


def replace_environment(values: dict[str, str]) -> None:
    """Replaces the environment; called in a program that was forked."""
    os.environ.clear()
    os.environ.update(values)
    settings.cache_clear()


def vllm_environment() -> dict[str, str]:
    """Additional variables for vLLM; variables that are already set keep their values."""
    return (
        {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in the worker's process and ends with it
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; by default vLLM takes a share of all memory
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # by default vLLM leaves one core unused, even if there are only two
        }
        | {name: value for name, value in os.environ.items() if name.startswith("VLLM_")}
        | other_python_environment()
    )


def other_python_environment() -> dict[str, str]:
    """Adds this project to PYTHONPATH, since it is not installed in the other Python's environment."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def visible_gpus() -> list[str] | None:
    """The GPUs in CUDA_VISIBLE_DEVICES; None if it is not set."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if given is None else [name.strip() for name in given.split(",")]


def read_secret(name: str) -> str:
    """Reads a key from the environment (or `.env`), by the name in the recipe; the key is sent only to its server."""
    settings()
    if not (value := os.environ.get(name, "").strip()):  # a key that comes from a file may end with a line break
        raise BadInput(f"{name}: is not set; the recipe names this environment variable for a key")
    return value


def server_environment(home: Path) -> dict[str, str]:
    """The environment of the workspace's local Prefect server: its home, no UI, no telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "PREFECT_HOME": str(home),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # an integer; 0 would be a busy loop
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }


def stack_environment(folder: Path, own: dict[str, str]) -> dict[str, str]:
    """The environment of the processes of `fuse up`: ours, including `.env`, with the paths and settings of their stack."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "FUSE_WORKSPACE": str(settings().workspace.absolute()),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "5",  # ends the children of cancelled runs
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_CLI_WRAP_LINES": "false",
        "DO_NOT_TRACK": "1",
        **own,
    }


def quieten_prefect() -> None:
    """Puts Prefect's home into the workspace and hides its log lines; call it before Prefect is imported."""
    os.environ.setdefault("PREFECT_HOME", str(settings().workspace.absolute() / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def api_given() -> str | None:
    """The address of an existing Prefect server (PREFECT_API_URL); None if it is not set."""
    settings()
    return os.environ.get("PREFECT_API_URL")
