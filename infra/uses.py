"""Records in the store which artifacts and pools running flows need, so that `fuse gc` does not delete them.

A flow records its steps under a lease before it asks the store which artifacts exist. `fuse gc` decides and deletes under
the same lease, so it never deletes an artifact that a flow has found. The record of a silent flow stays valid for hours.
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from pydantic import TypeAdapter, ValidationError

from infra.blobs import Blobs
from infra.errors import BadInput
from infra.lease import drop_lease, has_ended, hold_lease
from infra.settings import settings

HOUSEKEEPING = "housekeeping"
MARGIN = 6 * 3600  # seconds for which the record of a silent flow stays valid


@contextmanager
def in_use(blobs: Blobs, steps: Iterable) -> Iterator[None]:
    """Records that the artifacts and pools of these steps are needed until the block ends."""
    name = uuid.uuid4().hex
    needed = sorted({step.address for step in steps} | {f"pools/{step.pool}" for step in steps if step.pool})
    with hold_lease(blobs, f"uses/{name}", ttl=settings().lease_seconds):
        # Waits while `fuse gc` deletes, so that the record exists before its next decision.
        with hold_lease(blobs, HOUSEKEEPING, ttl=settings().lease_seconds):
            blobs.create(f"_uses/{name}.json", json.dumps(needed).encode())
        yield
    with suppress(OSError):  # after an error `fuse gc` deletes the record
        forget_use(blobs, name)


def list_used(blobs: Blobs, now: float) -> set[str]:
    """The addresses and pools that flows need. Call it under the housekeeping lease, with `now` by the store's clock. Forgets
    flows that were killed on this machine. Other silent flows may be paused or offline: forgets them only after MARGIN."""
    found: set[str] = set()
    renewed = {path: changed for path, (_, changed) in blobs.entries("_leases/uses").items()}
    for path, (_, written) in blobs.entries("_uses").items():
        name = path.removeprefix("_uses/").removesuffix(".json")
        silent = now - max(written, renewed.get(f"_leases/uses/{name}.json", 0))
        if silent < MARGIN and not has_ended(blobs, f"uses/{name}"):
            found.update(needed_by(blobs, path))
        else:
            forget_use(blobs, name)
    return found


def needed_by(blobs: Blobs, path: str) -> list[str]:
    """Reads one record. An unreadable one raises BadInput, so that `fuse gc` deletes nothing."""
    try:
        return TypeAdapter(list[str]).validate_json(blobs.read(path))
    except ValidationError as problem:
        raise BadInput(
            f"{blobs.url}/{path}: not a valid record of a flow; delete this file if no run is active"
        ) from problem


def forget_use(blobs: Blobs, name: str) -> None:
    blobs.delete(f"_uses/{name}.json")
    drop_lease(blobs, f"uses/{name}")
