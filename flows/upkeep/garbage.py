"""Housekeeping: finds, then deletes what no kept recipe or pin needs, what is old enough, and what no running flow uses.

Kept are the chains of recipes that the caller names, and what the artifacts pinned in the store were made from. Beside
artifacts these have pools of rows and checkpoints, which live and go by the same rule.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from flows.ablation import load_matrix, wanted
from flows.config.examination import load_examination
from flows.config.loading import load
from flows.evaluation import chains
from flows.fusion import fusion
from flows.run.packed_step import Portable, unpack
from infra.blobs import Blobs
from infra.clocks import require_same_clock
from infra.errors import BadInput
from infra.lease import lease
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from infra.uses import HOUSEKEEPING, used
from tasks.stage import Step, lineage

HOLDER = re.compile(r"(?P<address>(?:pools/|_checkpoints/)?[a-z0-9-]+/[0-9a-f]{40})/.+")
DAY = 86_400


@dataclass(frozen=True)
class Garbage:
    """Something that nothing keeps: an artifact, a pool or checkpoints."""

    address: str
    size: int
    days: float


def chains_of(recipes: Iterable[str], matrices: Iterable[str] = (), examinations: Iterable[str] = ()) -> list[Step]:
    """The last steps of everything that is named to be kept."""
    return [
        *(fusion(load(name)) for name in recipes),
        *(last for name in matrices for last in wanted(load_matrix(name)[1])),
        *(last for name in examinations for last in chains(load_examination(name)).values()),
    ]


def collect(store: Store, kept: Iterable[Step], days: float, delete: bool) -> list[Garbage]:
    """What is garbage now. With `delete` it is gone when this returns. No flow can begin to use it meanwhile: it would wait
    for the lease, and without the lease nothing is deleted."""
    keep, blobs = needed(steps for step in kept for steps in lineage(step)) | pinned(store), store.blobs
    if delete:
        require_same_clock(blobs)
    with lease(blobs, HOUSEKEEPING, ttl=settings().lease_seconds) as held:
        now = blobs.clock()
        found = garbage(blobs, keep | used(blobs, now), days, now)
        if not delete:
            return found
        deleted = []
        for one in found:
            if kept_as(one.address) not in used(blobs, now):
                remove(blobs.fenced(held), one.address)
                deleted.append(one)
        return deleted


def remove(blobs: Blobs, address: str) -> None:
    """What says that it is whole goes first, so that a kill leaves nothing that looks whole and is not."""
    marks = re.compile(rf"{address}/[^/]+\.json")
    for path in sorted(blobs.list(address), key=lambda path: not marks.fullmatch(path)):
        blobs.delete(path)
    if not address.startswith(("_checkpoints/", "pools/")):
        blobs.delete(f"_prefect/{address.replace('/', '-')}")


def kept_as(address: str) -> str:
    """Checkpoints are kept with their training."""
    return address.removeprefix("_checkpoints/")


def needed(steps: Iterable[Step]) -> set[str]:
    return {place for step in steps for place in (step.address, f"pools/{step.pool}" if step.pool else step.address)}


def garbage(blobs: Blobs, keep: set[str], days: float, now: float) -> list[Garbage]:
    """By address, `now` by the store's clock; its age is that of its youngest object, so that nothing that grows is ever old."""
    objects: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for path, state in blobs.entries("").items():
        if match := HOLDER.fullmatch(path):
            objects[match["address"]].append(state)
    found = []
    for address, states in sorted(objects.items()):
        age = max(now - max(modified for _, modified in states), 0.0) / DAY
        if kept_as(address) not in keep and age >= days:
            found.append(Garbage(address, sum(size for size, _ in states), age))
    return found


def pin(store: Store, manifest: Manifest) -> None:
    """Keeps an artifact and everything that it was made from, until it is unpinned."""
    store.blobs.create(f"_pins/{manifest.stage}/{manifest.fingerprint}", manifest.label.encode())


def unpin(store: Store, manifest: Manifest) -> None:
    store.blobs.delete(f"_pins/{manifest.stage}/{manifest.fingerprint}")


def pinned(store: Store) -> set[str]:
    """Addresses and pools of all pinned artifacts and of what they were made from."""
    found: set[str] = set()
    ahead = [path.removeprefix("_pins/") for path in store.blobs.list("_pins")]
    while ahead:
        address = ahead.pop()
        if address in found:
            continue
        found.add(address)
        if manifest := store.manifest(*address.split("/")):
            found |= pool_of(manifest)
            ahead += [f"{each.stage}/{each.fingerprint}" for inputs in manifest.inputs.values() for each in inputs]
    return found


def pool_of(manifest: Manifest) -> set[str]:
    """The pool that an artifact's rows came from; of a version that is no more, none: its rows are of no use now."""
    try:
        return needed([unpack(portable(manifest))])
    except BadInput:
        return set()


def portable(manifest: Manifest) -> Portable:
    inputs = {name: [f"{each.stage}/{each.fingerprint}" for each in given] for name, given in manifest.inputs.items()}
    address = f"{manifest.stage}/{manifest.fingerprint}"
    return Portable(address=address, label=manifest.label, what=manifest.what, how={}, inputs=inputs)
