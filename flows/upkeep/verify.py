"""Reads stored bytes again and says what is wrong with them; repairing has just that made again, and nothing else.

What lies whole in this machine's cache, or as rows in an artifact, is put back; only the rest is computed.
"""

import random

from flows.plan import needed_addresses
from flows.upkeep.stored_pieces import Piece
from flows.workspace import Place
from infra.checkpoints import Checkpoints
from infra.errors import CorruptArtifact
from infra.lease import drop, lease
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks.execution import Observer, ensure
from tasks.stage import Step, lineage


def damaged(pieces: list[Piece], store: Store, sample: int | None = None, seed: int = 0) -> list[Piece]:
    """Those that are not what their manifest says, each with its problem; of all, or of a random sample of files."""
    broken = [piece for piece in pieces if piece.entry is None]
    whole = [piece for piece in pieces if piece.entry is not None]
    if sample is not None and sample < len(whole):
        whole = random.Random(seed).sample(whole, sample)
    for piece in whole:
        if problem := store.problem(piece.entry):
            broken.append(Piece(piece.owner, piece.label, piece.entry, problem))
    return broken


def repair(broken: list[Piece], last: Step, place: Place, observe: Observer) -> list[str]:
    """Makes the damaged pieces whole again; says of each what was done."""
    store, said = place.store, []
    steps = {step.address: step for step in lineage(last)}
    lost = []
    for piece in sorted(broken, key=lambda piece: not piece.lease):  # the others are mended under their leases
        if piece.lease or piece.checkpoint:
            said.append(clear_away(piece, store))
        elif piece.entry and store.restore(piece.entry):
            said.append(f"{piece.label}: {piece.entry.name} put back from this machine's cache")
        else:
            lost.append(piece)
    again = {piece.owner: before(steps[piece.owner], store) for piece in lost if piece.owner in steps}
    for address in again:
        discard(steps[address], store)
    for piece in (one for one in lost if one.owner not in steps):
        store.blobs.delete(piece.entry.path)
        refilled = sum(refill(step, store) for step in steps.values() if step.pool == piece.owner)
        said.append(f"{piece.label}: a damaged part deleted, {refilled:,} rows put back from artifacts that hold them")
    for step in to_make(again, steps, store):
        made = ensure(step, store, place.launcher, observe)
        said.append(f"{step.label}: made again, {compared(again.get(step.address), made)}")
    return said


def clear_away(piece: Piece, store: Store) -> str:
    """A lease only saves double work, and a training goes on from the checkpoint before, or from its beginning."""
    if piece.lease:
        drop(store.blobs, piece.owner)
        return f"{piece.label}: deleted; whoever works under it may work twice"
    with lease(store.blobs, piece.owner, ttl=settings().lease_seconds) as held:
        Checkpoints(store.blobs.fenced(held), piece.owner).discard(piece.checkpoint)
    return f"{piece.label}: deleted; its training goes on from the one before"


def before(step: Step, store: Store) -> str | None:
    """The digest of the content that was published; unknown where the manifest itself is damaged."""
    try:
        return store.manifest(step.stage.name, step.fingerprint).content
    except CorruptArtifact:
        return None


def discard(step: Step, store: Store) -> None:
    """Under the step's lease, so that nobody is at work on it."""
    with lease(store.blobs, step.address, ttl=settings().lease_seconds) as held:
        store.fenced(held).discard(step.stage.name, step.fingerprint)


def refill(step: Step, store: Store) -> int:
    """A pool lost a part: the step's own artifact, if it is there and whole, holds the same rows."""
    manifest = store.manifest(step.stage.name, step.fingerprint)
    tables = [entry for entry in manifest.files if entry.name.endswith(".parquet")] if manifest else []
    if len(tables) != 1 or store.problem(tables[0]):
        return 0
    rows = int(manifest.counts["rows"])
    store.append(step.pool, store.fetch(manifest, [tables[0].name]) / tables[0].name, rows)
    return rows


def to_make(again: dict[str, str | None], steps: dict[str, Step], store: Store) -> list[Step]:
    """The discarded steps, and what they read if that is not in the store any more; inputs before their users."""
    found = {address for address, step in steps.items() if address not in again and held(step, store)}
    needed = set().union(*(needed_addresses(steps[address], found) for address in again))
    return [step for step in steps.values() if step.address in needed]


def held(step: Step, store: Store) -> bool:
    return store.manifest(step.stage.name, step.fingerprint) is not None


def compared(before: str | None, made: Manifest) -> str:
    if before is None:
        return "its earlier content is not known"
    if before == made.content:
        return "the same bytes as before"
    return f"OTHER bytes than before ({before[:12]} → {made.content[:12]}): what was made from it stands on the earlier ones"
