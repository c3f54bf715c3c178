"""Places for the attacks: a real S3 server of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests.chaos.server import Mortal


@contextmanager
def seaweed(folder: Path) -> Iterator[tuple[str, dict]]:
    server = Mortal(folder / "seaweed")
    try:
        server.ready()
        yield f"{server.address.url}/{uuid4().hex}", server.address.options()
    finally:
        server.kill()
