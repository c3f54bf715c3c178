"""Lists the pieces of a store that `fuse verify` checks: files, parts of pools, manifests, checkpoints, leases."""

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
    """A piece to check: a file of an artifact or a part of a pool. A piece without entry is a manifest, a checkpoint or a
    lease that was found damaged."""

    owner: str  # the artifact's address, or the pool
    label: str
    entry: FileEntry | None
    problem: str = ""
    checkpoint: str = ""  # the name of a checkpoint of its owner
    lease: bool = False  # whether this is the lease of its owner


def pieces_of_recipe(last: Step, store: Store) -> list[Piece]:
    """All stored pieces of a recipe's chain: artifacts, pools, and damaged checkpoints and leases."""
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
    """The damaged checkpoints and leases. All of them are read, even if only a sample of files is checked."""
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
    """The files of an artifact and of all its inputs."""
    seen: set[str] = set()

    def walk(artifact: Manifest) -> Iterator[Piece]:
        address = f"{artifact.stage}/{artifact.fingerprint}"
        if address in seen:
            return
        seen.add(address)
        yield from (Piece(address, artifact.label, entry) for entry in artifact.files)
        for reference in (item for references in artifact.inputs.values() for item in references):
            input_address = f"{reference.stage}/{reference.fingerprint}"
            try:
                upstream = store.manifest(reference.stage, reference.fingerprint)
            except CorruptArtifact as problem:
                yield Piece(input_address, reference.stage, None, str(problem))
                continue
            if upstream:
                yield from walk(upstream)

    return list(walk(manifest))
