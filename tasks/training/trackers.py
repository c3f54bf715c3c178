"""Trackers that receive a training's log in addition to its Parquet file, through transformers' callbacks."""

from importlib.util import find_spec
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback  # pyright: ignore[reportPrivateImportUsage]

from infra.errors import BadInput

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


def make_trackers(job: dict) -> list[TrainerCallback]:
    """The trackers that `how.report_to` names. TensorBoard writes to job["report"]; the others read their own environment
    variables."""
    wanted = job["how"].get("report_to", ())
    for name in wanted:
        if not any(find_spec(package) for package in PACKAGES[name]):
            raise BadInput(
                f"how.report_to: the package {' or '.join(PACKAGES[name])} is not installed; install it, or change how.report_to"
            )
    made = {
        "tensorboard": make_tensorboard,
        "wandb": lambda job: WandbCallback(),
        "trackio": lambda job: TrackioCallback(),
    }
    return [made[name](job) for name in wanted]


def make_tensorboard(job: dict) -> TrainerCallback:
    callback = TensorBoardCallback()
    callback.logging_dir = job["report"]  # the first process creates it when the training begins
    return callback


def tracker_run_name(job: dict) -> str | None:
    return Path(job["report"]).name if job.get("report") else None
