"""A process that answers one question at a time. After a timeout it is killed, and the next question starts a new one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.settings import ROOT, allowed_environment
from tasks.checks.sandbox.waiting import is_readable

START = "import sys; sys.path.append({root!r}); from {module} import main; sys.path.remove({root!r}); main()"
START_SECONDS = 120  # it imports large libraries


class Worker:
    """Runs `main()` of a module, which writes a line when it is ready and then answers lines of JSON. The process stays in this
    process group and works in `folder`. It gets no secrets in its environment and cannot import from the project's folder."""

    def __init__(self, module: str, seconds: float, folder: Path):
        self.module, self.seconds, self.folder = module, seconds, folder
        self.process: subprocess.Popen | None = None

    def ask(self, question: dict) -> Any:
        """TimeoutError if no answer came in time, ChildProcessError if the process ended instead."""
        if self.process is None:
            self.start()
        process = self.process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            self.end()
            raise ChildProcessError(f"{self.module} ended") from None
        return self.read_reply(self.seconds)

    def start(self) -> None:
        code = START.format(root=str(ROOT), module=self.module)
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=allowed_environment(),
        )
        try:
            self.read_reply(START_SECONDS)
        except (TimeoutError, ChildProcessError) as problem:
            raise RuntimeError(f"{self.module} did not start: {problem}") from problem

    def read_reply(self, seconds: float) -> Any:
        process = self.process
        assert process is not None and process.stdout is not None
        if not is_readable(process.stdout.fileno(), seconds):
            self.end()
            raise TimeoutError(f"no answer in {seconds:g} s")
        if not (line := process.stdout.readline()):
            self.end()
            raise ChildProcessError(f"{self.module} ended without an answer")
        return json.loads(line)

    def end(self) -> None:
        process, self.process = self.process, None
        if process:
            process.kill()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()
            process.wait()
