"""Shows a step's progress as a Prefect progress artifact, with the same numbers as on the terminal."""

import time
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from tasks.execution import Share
from tasks.stage import Step

EVERY = 2.0  # seconds between two updates
STATES = ("queued", "running", "found", "done")


class ProgressArtifact:
    """Reports the progress of one step, or of a share of its rows."""

    def __init__(self, step: Step, share: Share | None = None):
        self.key = f"{step.stage.name}-{step.fingerprint[:8]}" + (f"-{share.name}" if share else "")
        self.label = f"{step.label} · {share}" if share else step.label
        self.artifact: UUID | None = None
        self.last = 0.0

    def __call__(self, step: Step, doing: str, done: int, total: int, unit: str) -> None:
        if not total and doing not in STATES:
            get_run_logger().info("%s: %s", self.label, doing)  # the reason for waiting
        if not total or (time.monotonic() - self.last < EVERY and done < total):
            return
        self.last = time.monotonic()
        try:
            self.publish(f"{self.label}: {done:,} of {total:,} {unit}", 100 * done / total)
        except (
            httpx.HTTPError,
            OSError,
            RuntimeError,
            PrefectException,
        ) as problem:  # progress that cannot be shown must not stop the run
            get_run_logger().warning("progress not reported: %s", problem)

    def publish(self, text: str, share: float) -> None:
        if self.artifact is None:
            made = create_progress_artifact(share, key=self.key, description=text)
            self.artifact = cast("UUID", made)  # not a coroutine: this thread has no event loop
        else:
            update_progress_artifact(self.artifact, share, description=text)
