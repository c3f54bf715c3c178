"""What running flows use, written into the store, so that housekeeping leaves it alone, for hours also if they are silent.

A flow writes down its steps before it asks the store what exists, and housekeeping decides and deletes under the same
lease: nothing is deleted between a flow's finding it and its use.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pydantic import TypeAdapter, ValidationError

from infra.blobs import Blobs
from infra.errors import BadInput
from infra.lease import drop, ended, lease
from infra.settings import settings

HOUSEKEEPING = "housekeeping"
MARGIN = 6 * 3600  # seconds for which a silent flow is still believed to need what it has declared


@contextmanager
def in_use(blobs: Blobs, steps: Iterable) -> Iterator[None]:
    """These steps' artifacts and pools are needed until the block ends."""
    name = uuid.uuid4().hex
    needed = sorted({step.address for step in steps} | {f"pools/{step.pool}" for step in steps if step.pool})
    with lease(blobs, f"uses/{name}", ttl=settings().lease_seconds):
        with lease(blobs, HOUSEKEEPING, ttl=settings().lease_seconds):
            blobs.create(f"_uses/{name}.json", json.dumps(needed).encode())
        yield
    with suppress(OSError):  # then housekeeping does it
        forget(blobs, name)


def used(blobs: Blobs, now: float) -> set[str]:
    """Addresses and pools that flows need; under the housekeeping lease, `now` by the store's clock. Forgets flows that were
    killed on this machine, and flows that were silent for hours: a silent one may be paused, or cut off from the store."""
    found: set[str] = set()
    renewed = {path: changed for path, (_, changed) in blobs.entries("_leases/uses").items()}
    for path, (_, written) in blobs.entries("_uses").items():
        name = path.removeprefix("_uses/").removesuffix(".json")
        silent = now - max(written, renewed.get(f"_leases/uses/{name}.json", 0))
        if silent < MARGIN and not ended(blobs, f"uses/{name}"):
            found.update(needed_by(blobs, path))
        else:
            forget(blobs, name)
    return found


def needed_by(blobs: Blobs, path: str) -> list[str]:
    """What nobody can read might be anything: then nothing is deleted."""
    try:
        return TypeAdapter(list[str]).validate_json(blobs.read(path))
    except ValidationError as problem:
        raise BadInput(f"{blobs.url}/{path}: not what a flow writes; delete it if nothing is running") from problem


def forget(blobs: Blobs, name: str) -> None:
    blobs.delete(f"_uses/{name}.json")
    drop(blobs, f"uses/{name}")
