"""Checks stored bytes against their manifests, and repairs only the damaged pieces.

A repair first looks for an undamaged copy in this machine's cache, or for the rows in an artifact; it computes only the rest.
"""

import random

from flows.plan import needed_addresses
from flows.upkeep.stored_pieces import Piece
from flows.workspace import Workspace
from infra.checkpoints import StoredCheckpoints
from infra.errors import CorruptArtifact
from infra.lease import drop_lease, hold_lease
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks.execution import Observer, ensure_artifact
from tasks.stage import Step, lineage


def find_damaged(pieces: list[Piece], store: Store, sample: int | None = None, seed: int = 0) -> list[Piece]:
    """The pieces that differ from their manifest, with the problem of each; among all files, or a random sample of them."""
    broken = [piece for piece in pieces if piece.entry is None]
    whole = [piece for piece in pieces if piece.entry is not None]
    if sample is not None and sample < len(whole):
        whole = random.Random(seed).sample(whole, sample)
    for piece in whole:
        assert piece.entry is not None
        if problem := store.problem(piece.entry):
            broken.append(Piece(piece.owner, piece.label, piece.entry, problem))
    return broken


def repair_pieces(broken: list[Piece], last: Step, place: Workspace, observe: Observer) -> list[str]:
    """Repairs the damaged pieces; returns one line per piece."""
    store, lines = place.store, []
    steps = {step.address: step for step in lineage(last)}
    lost = []
    for piece in sorted(broken, key=lambda piece: not piece.lease):  # leases first: the other repairs need them
        if piece.lease or piece.checkpoint:
            lines.append(clear_away(piece, store))
        elif piece.entry and store.restore(piece.entry):
            lines.append(f"{piece.label}: {piece.entry.name} restored from this machine's cache")
        else:
            lost.append(piece)
    again = {piece.owner: published_content(steps[piece.owner], store) for piece in lost if piece.owner in steps}
    for address in again:
        discard_artifact(steps[address], store)
    for piece in (piece for piece in lost if piece.owner not in steps):
        store.blobs.delete(piece.entry.path)
        refilled = sum(refill_pool(step, store) for step in steps.values() if step.pool == piece.owner)
        lines.append(f"{piece.label}: a damaged part deleted, {refilled:,} rows restored from artifacts")
    for step in to_make(again, steps, store):
        made = ensure_artifact(step, store, place.launcher, observe)
        lines.append(f"{step.label}: made again, {compare_contents(again.get(step.address), made)}")
    return lines


def clear_away(piece: Piece, store: Store) -> str:
    """Deletes a damaged lease or checkpoint. Nothing is lost but time: without a lease a run may repeat work, and a training
    continues from the checkpoint before, or from its beginning."""
    if piece.lease:
        drop_lease(store.blobs, piece.owner)
        return f"{piece.label}: deleted; a run that held it may repeat its work"
    with hold_lease(store.blobs, piece.owner, ttl=settings().lease_seconds) as held:
        assert held is not None  # without `done`, hold_lease waits until it holds the lease
        StoredCheckpoints(store.blobs.fenced(held), piece.owner).discard(piece.checkpoint)
    return f"{piece.label}: deleted; the training continues from the checkpoint before"


def published_content(step: Step, store: Store) -> str | None:
    """The digest of the published content; None if the manifest itself is damaged."""
    try:
        manifest = store.manifest(step.stage.name, step.fingerprint)
    except CorruptArtifact:
        return None
    assert manifest is not None  # one of its pieces is damaged, so it is there
    return manifest.content


def discard_artifact(step: Step, store: Store) -> None:
    """Deletes the step's artifact, under the step's lease, so that no run works on it at the same time."""
    with hold_lease(store.blobs, step.address, ttl=settings().lease_seconds) as held:
        assert held is not None
        store.fenced(held).discard(step.stage.name, step.fingerprint)


def refill_pool(step: Step, store: Store) -> int:
    """Fills a pool that lost a part with the rows of the step's artifact, if there is an undamaged one; returns their count."""
    manifest = store.manifest(step.stage.name, step.fingerprint)
    tables = [entry for entry in manifest.files if entry.name.endswith(".parquet")] if manifest else []
    if len(tables) != 1 or store.problem(tables[0]):
        return 0
    assert manifest is not None and step.pool is not None  # it has a table, and the caller compared the pool
    rows = int(manifest.counts["rows"])
    store.append(step.pool, store.fetch(manifest, [tables[0].name]) / tables[0].name, rows)
    return rows


def to_make(again: dict[str, str | None], steps: dict[str, Step], store: Store) -> list[Step]:
    """The discarded steps and their missing inputs, inputs before their users."""
    found = {address for address, step in steps.items() if address not in again and is_held(step, store)}
    needed = set().union(*(needed_addresses(steps[address], found) for address in again))
    return [step for step in steps.values() if step.address in needed]


def is_held(step: Step, store: Store) -> bool:
    return store.manifest(step.stage.name, step.fingerprint) is not None


def compare_contents(before: str | None, made: Manifest) -> str:
    if before is None:
        return "its earlier content is unknown"
    if before == made.content:
        return "the same bytes as before"
    return (
        f"DIFFERENT bytes than before ({before[:12]} → {made.content[:12]}): artifacts that were made from it still "
        "depend on the earlier bytes"
    )
