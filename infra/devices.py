"""This machine's GPUs, dealt out to its programs: no two that ask for GPUs of their own get the same."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import BadInput
from infra.settings import visible_gpus


class Devices:
    def __init__(self, names: list[str] | None = None):
        self.names = found() if names is None else names
        self.free, self.changed = list(self.names), threading.Condition()

    @contextmanager
    def taken(self, number: int) -> Iterator[dict[str, str]]:
        """The variables that show a program `number` GPUs and no others. On a machine without any, and for a program that asks
        for none, everything stays as it is."""
        if not number or not self.names:
            yield {}
            return
        if number > len(self.names):
            raise BadInput(f"how: one program asks for {number} GPUs, this machine has {len(self.names)}")
        with self.changed:
            self.changed.wait_for(lambda: len(self.free) >= number)
            mine, self.free = self.free[:number], self.free[number:]
        try:
            yield {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
        finally:
            with self.changed:
                self.free = sorted([*self.free, *mine], key=self.names.index)
                self.changed.notify_all()


def found() -> list[str]:
    if (names := visible_gpus()) is not None:
        return names
    if (driver := shutil.which("nvidia-smi")) is None:
        return []
    answer = subprocess.run([driver, "--list-gpus"], capture_output=True, text=True, timeout=60)
    gpus = sum(line.startswith("GPU ") for line in answer.stdout.splitlines()) if answer.returncode == 0 else 0
    return [str(number) for number in range(gpus)]
