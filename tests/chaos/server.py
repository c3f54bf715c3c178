"""An S3 server that is killed and comes back with what it had, on the ports that it had."""

import os
import signal
import subprocess
from pathlib import Path

from infra.seaweed import PORTS, free_ports, server_command
from tests.chaos.kills import TALLY
from tests.infra.seaweed import BUCKET, Seaweed, identities, wait_until_ready


class Mortal:
    def __init__(self, data: Path):
        data.mkdir(parents=True, exist_ok=True)
        self.data, self.ports = data, dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.address = Seaweed(f"http://127.0.0.1:{self.ports['s3.port']}")
        self.start()

    def start(self) -> None:
        with (self.data / "log.txt").open("ab") as log:
            words = server_command(self.data, self.ports, BUCKET, identities())
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def ready(self) -> None:
        wait_until_ready(self.address, self.process, self.data / "log.txt")

    def kill(self) -> None:
        TALLY["servers"] += self.process.poll() is None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
