"""A stack of the tests' own, started by `fuse up` as a user does, and what a person does in its UI, as API calls."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.services import NAME, marked
from infra.store import Store
from tests.patience import STILL, run_while_it_progresses, wait_until

ROOT = Path(__file__).parents[2]


@dataclass
class Home:
    workspace: Path
    environment: dict[str, str]

    def fuse(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "flows.cli.main", *words]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FUSE_", "PREFECT_", "AWS_"))}
        return run_while_it_progresses(command, self.workspace, cwd=ROOT, env=kept | self.environment)

    @property
    def folder(self) -> Path:
        return self.workspace / "stack"

    @property
    def keys(self) -> dict[str, str]:
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    @property
    def store(self) -> Store:
        keys = self.keys
        options = {
            "key": keys["AWS_ACCESS_KEY_ID"],
            "secret": keys["AWS_SECRET_ACCESS_KEY"],
            "endpoint_url": keys["AWS_ENDPOINT_URL"],
        }
        return Store(keys["FUSE_STORE"], self.workspace / "cache-of-the-test", options)

    def call(self, method: str, path: str, many: list | None = None, **body: Any) -> Any:
        return call(f"http://127.0.0.1:{self.environment['FUSE_UI_PORT']}/api", method, path, many or body or None)

    def start(self, deployment: str, **parameters: Any) -> str:
        """What the button *Run* of a deployment's page does; returns the run's id."""
        found = self.call("GET", f"/deployments/name/{deployment}")
        body = {"parameters": found["parameters"] | parameters, "state": {"type": "SCHEDULED"}}
        return self.call("POST", f"/deployments/{found['id']}/create_flow_run", **body)["id"]

    def schedule(self, deployment: str, cron: str) -> None:
        found = self.call("GET", f"/deployments/name/{deployment}")
        schedule = {"schedule": {"cron": cron, "timezone": "UTC"}, "active": True, "slug": "test"}
        self.call("POST", f"/deployments/{found['id']}/schedules", many=[schedule])

    def unschedule(self, deployment: str) -> None:
        found = self.call("GET", f"/deployments/name/{deployment}")
        for schedule in found["schedules"]:
            if schedule["slug"] == "test":
                self.call("DELETE", f"/deployments/{found['id']}/schedules/{schedule['id']}")

    def set_state(self, run: str, kind: str, name: str) -> str:
        answer = self.call("POST", f"/flow_runs/{run}/set_state", state={"type": kind, "name": name}, force=False)
        return answer["status"]

    def state(self, run: str) -> str:
        return self.call("GET", f"/flow_runs/{run}")["state_name"]

    def runs(self, **conditions: Any) -> list[dict]:
        return self.call("POST", "/flow_runs/filter", flow_runs=conditions, sort="START_TIME_ASC", limit=200)

    def stage_runs(self, address: str) -> list[dict]:
        return self.runs(tags={"all_": [f"step:{address}"]})

    def processes(self, service: str) -> list[psutil.Process]:
        return [process for process in marked(self.folder) if process.environ().get(NAME) == service]

    def programs(self) -> list[psutil.Process]:
        """The programs that run for this stack, on whichever worker."""
        found = []
        for process in marked(self.folder):
            try:
                if any(word.endswith("job.json") for word in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def finish(self, *runs: str) -> list[str]:
        """Their states once all of them have ended."""
        final = {"Completed", "Failed", "Cancelled"}
        self.wait_until(lambda: all(self.state(run) in final for run in runs))
        return [self.state(run) for run in runs]

    def story(self) -> str:
        return "\n".join(f"{run['name']}: {run['state_name']}, {run['state'].get('message')}" for run in self.runs())

    def wait_until(self, true: Callable[[], Any], pause: float = 0.25) -> None:
        """While its runs change their states or the stack and its programs write files."""
        wait_until(true, self.workspace, pause=pause, story=self.story)


def call(api: str, method: str, path: str, body: Any = None) -> Any:
    """Asks a Prefect server as Prefect's own clients do: busy, it answers 503, and is asked again."""
    deadline = time.monotonic() + STILL
    while True:
        try:
            answer = httpx.request(method, api + path, json=body, timeout=STILL)
        except httpx.TransportError:
            answer = None
        if (answer is not None and answer.status_code != 503) or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert answer is not None, f"{api}{path} does not answer"
    answer.raise_for_status()
    return answer.json() if answer.content else None
