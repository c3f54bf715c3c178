"""What of a store is looked at as one when its bytes are read again: files, parts of pools, manifests, checkpoints, leases."""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.checkpoints import Checkpoints, checkpoints_of
from infra.errors import CorruptArtifact
from infra.lease import below, live
from infra.manifest import FileEntry, Manifest
from infra.store import Store
from tasks.stage import Step, lineage


@dataclass(frozen=True)
class Piece:
    """What is looked at as one: a file of an artifact, a part of a pool; without an entry, what cannot be read as what it
    should be: a manifest, a checkpoint, a lease."""

    owner: str  # the artifact's address, or the pool
    label: str
    entry: FileEntry | None
    problem: str = ""
    checkpoint: str = ""  # the name of one, of the artifact that its owner will be
    lease: bool = False  # on the making of its owner


def pieces_of_recipe(last: Step, store: Store) -> list[Piece]:
    """Everything the store holds for a recipe's chain: artifacts that were made, and the pools behind them."""
    found = []
    for step in lineage(last):
        try:
            manifest = store.manifest(step.stage.name, step.fingerprint)
        except CorruptArtifact as problem:
            found.append(Piece(step.address, step.label, None, str(problem)))
            continue
        found += [Piece(step.address, step.label, entry) for entry in (manifest.files if manifest else ())]
    pools = {step.pool: step.label for step in lineage(last) if step.pool}
    return (
        found
        + on_the_way(last, store)
        + [Piece(pool, label, entry) for pool, label in pools.items() for entry in store.parts(pool)]
    )


def on_the_way(last: Step, store: Store) -> list[Piece]:
    """What is wrong with checkpoints and leases: these are not sampled, and all of them are read."""
    labels = {step.address: step.label for step in lineage(last)}
    found = []
    for address, name in checkpoints_of(store.blobs, set(labels)):
        if problem := Checkpoints(store.blobs, address).problem(name):
            found.append(Piece(address, f"{labels[address]}, checkpoint {name}", None, problem, checkpoint=name))
    held = labels | {f"pools/{step.pool}": step.label for step in lineage(last) if step.pool}
    held |= {share: label for pool, label in held.items() for share in below(store.blobs, pool)}
    for address, label in held.items():
        try:
            live(store.blobs, address)
        except CorruptArtifact as problem:
            found.append(Piece(address, f"{label}, lease", None, str(problem), lease=True))
    return found


def pieces_of_artifact(manifest: Manifest, store: Store) -> list[Piece]:
    """An artifact's files and those of all it was made from."""
    seen: set[str] = set()

    def walk(one: Manifest) -> Iterator[Piece]:
        address = f"{one.stage}/{one.fingerprint}"
        if address in seen:
            return
        seen.add(address)
        yield from (Piece(address, one.label, entry) for entry in one.files)
        for reference in (each for many in one.inputs.values() for each in many):
            where = f"{reference.stage}/{reference.fingerprint}"
            try:
                upstream = store.manifest(reference.stage, reference.fingerprint)
            except CorruptArtifact as problem:
                yield Piece(where, reference.stage, None, str(problem))
                continue
            if upstream:
                yield from walk(upstream)

    return list(walk(manifest))
