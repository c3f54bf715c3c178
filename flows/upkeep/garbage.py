"""Garbage collection: finds and deletes old artifacts that are not needed by a kept recipe, a pin or a running flow.

Keeps the chains of the recipes that the caller names, and all pinned artifacts with their inputs. Pools of rows and
checkpoints are kept or deleted by the same rule as their artifacts.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from flows.ablation import list_goals, load_matrix
from flows.config.examination import load_examination
from flows.config.loading import load_recipe
from flows.evaluation import build_chains
from flows.fusion import fusion
from flows.run.packed_step import PackedStep, unpack_step
from infra.blobs import Blobs
from infra.clocks import require_same_clock
from infra.errors import BadInput
from infra.lease import hold_lease
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from infra.uses import HOUSEKEEPING, list_used
from tasks.stage import Step, lineage

HOLDER = re.compile(r"(?P<address>(?:pools/|_checkpoints/)?[a-z0-9-]+/[0-9a-f]{40})/.+")
DAY = 86_400


@dataclass(frozen=True)
class Garbage:
    """An artifact, a pool or checkpoints that nothing needs."""

    address: str
    size: int
    days: float


def chains_of(recipes: Iterable[str], matrices: Iterable[str] = (), examinations: Iterable[str] = ()) -> list[Step]:
    """The last steps of the recipes, matrices and examinations to keep."""
    return [
        *(fusion(load_recipe(name)) for name in recipes),
        *(last for name in matrices for last in list_goals(load_matrix(name)[1])),
        *(last for name in examinations for last in build_chains(load_examination(name)).values()),
    ]


def collect_garbage(store: Store, kept: Iterable[Step], days: float, delete: bool) -> list[Garbage]:
    """Returns the garbage, deleted if `delete` is true. The lease excludes flows that want to start using an artifact: they
    wait for it, and deletion stops if the lease is lost. The lease does not exclude pins, so they are read before each
    deletion."""
    keep, blobs = list_needed(steps for step in kept for steps in lineage(step)), store.blobs
    if delete:
        require_same_clock(blobs)
    with hold_lease(blobs, HOUSEKEEPING, ttl=settings().lease_seconds) as held:
        now = blobs.clock()
        pins = blobs.list("_pins")
        pinned = list_pinned(store, pins)
        found = find_garbage(blobs, keep | pinned | list_used(blobs, now), days, now)
        if not delete:
            return found
        deleted = []
        for item in found:
            used = list_used(blobs, now)
            if (latest := blobs.list("_pins")) != pins:
                pins, pinned = latest, list_pinned(store, latest)
            if kept_as(item.address) not in used | pinned:
                assert held is not None  # without `done`, hold_lease waits until it holds the lease
                remove_address(blobs.fenced(held), item.address)
                deleted.append(item)
        return deleted


def remove_address(blobs: Blobs, address: str) -> None:
    """Deletes the manifest first: if the process is killed, a half-deleted artifact does not look complete."""
    manifests = re.compile(rf"{address}/[^/]+\.json")
    for path in sorted(blobs.list(address), key=lambda path: not manifests.fullmatch(path)):
        blobs.delete(path)
    if not address.startswith(("_checkpoints/", "pools/")):
        blobs.delete(f"_prefect/{address.replace('/', '-')}")


def kept_as(address: str) -> str:
    """The address that decides: checkpoints are kept with their training."""
    return address.removeprefix("_checkpoints/")


def list_needed(steps: Iterable[Step]) -> set[str]:
    return {place for step in steps for place in (step.address, f"pools/{step.pool}" if step.pool else step.address)}


def find_garbage(blobs: Blobs, keep: set[str], days: float, now: float) -> list[Garbage]:
    """Garbage by address. `now` is the store's time. The age is that of the newest object, so a growing pool is never old."""
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


def pin_manifest(store: Store, manifest: Manifest) -> None:
    """Keeps an artifact and all its inputs until it is unpinned."""
    store.blobs.create(f"_pins/{manifest.stage}/{manifest.fingerprint}", manifest.label.encode())


def unpin_manifest(store: Store, manifest: Manifest) -> None:
    store.blobs.delete(f"_pins/{manifest.stage}/{manifest.fingerprint}")


def list_pinned(store: Store, pins: Iterable[str] | None = None) -> set[str]:
    """Addresses and pools of all pinned artifacts and of all their inputs. `pins`: their paths, if they are already known."""
    found: set[str] = set()
    ahead = [path.removeprefix("_pins/") for path in (store.blobs.list("_pins") if pins is None else pins)]
    while ahead:
        address = ahead.pop()
        if address in found:
            continue
        found.add(address)
        if manifest := store.manifest(*address.split("/")):
            found |= find_row_pool(manifest)
            ahead += [f"{each.stage}/{each.fingerprint}" for inputs in manifest.inputs.values() for each in inputs]
    return found


def find_row_pool(manifest: Manifest) -> set[str]:
    """The pool with an artifact's rows; empty if the artifact is from an older version, which cannot use the rows."""
    try:
        return list_needed([unpack_step(pack_manifest(manifest))])
    except BadInput:
        return set()


def pack_manifest(manifest: Manifest) -> PackedStep:
    inputs = {name: [f"{each.stage}/{each.fingerprint}" for each in given] for name, given in manifest.inputs.items()}
    address = f"{manifest.stage}/{manifest.fingerprint}"
    return PackedStep(address=address, label=manifest.label, what=manifest.what, how={}, inputs=inputs)
