"""`fuse gc` and `fuse pin`: list and delete artifacts that are not needed; protect artifacts from deletion."""

import argparse
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from flows.cli.console import make_console
from flows.upkeep import garbage as gc
from flows.workspace import Place, find_artifact
from infra.errors import BadInput


def collect_garbage(arguments: argparse.Namespace) -> None:
    kept = gc.chains_of(arguments.keep, arguments.keep_matrix, arguments.keep_examination)
    days, delete = arguments.days, arguments.delete
    store = Place.from_settings().store
    store.probe()  # deletion needs a lease: stop here if the store is read-only or its leases do not exclude each other
    if not 0 <= days < math.inf:
        raise BadInput(f"--days: must be a finite number, at least 0, not {days:g}")
    if delete and not kept and not gc.pinned(store):
        raise BadInput(
            "--delete: nothing is kept; name the recipes to keep with --keep, or pin artifacts with fuse pin"
        )
    show_garbage(make_console(), gc.collect(store, kept, days, delete), delete)


def pin_artifact(arguments: argparse.Namespace) -> None:
    address, remove = arguments.artifact, arguments.remove
    store = Place.from_settings().store
    if (manifest := find_artifact(address, store)) is None:
        raise BadInput(f"{address}: not an artifact's address; an example is wrpo/1f3a")
    (gc.unpin if remove else gc.pin)(store, manifest)
    print(f"{manifest.stage}/{manifest.fingerprint}: {'unpinned' if remove else 'pinned'}")


def show_garbage(console: Console, found: Sequence[gc.Garbage], deleted: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("address", "MB", "days old"):
        table.add_column(name, no_wrap=True, justify="left" if name == "address" else "right")
    for item in found:
        table.add_row(item.address, f"{item.size / 1e6:,.1f}", f"{item.days:.1f}")
    console.print(table)
    size = sum(item.size for item in found) / 1e6
    verdict = "deleted" if deleted else "nothing is deleted without --delete"
    console.print(f"\n{len(found)} addresses, {size:,.1f} MB; {verdict}")
