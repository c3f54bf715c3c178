"""`fuse show` and `fuse verify`: the stored files of a recipe, or of one artifact and its inputs."""

import argparse
import time

from flows.cli.console import Watcher, make_console
from flows.cli.lineage import show_lineage
from flows.cli.recipes import load_chain
from flows.cli.tables import show_damage, show_resampled
from flows.upkeep.stored_pieces import pieces_of_artifact, pieces_of_recipe
from flows.workspace import Workspace, find_artifact
from infra.errors import BadInput


def show_artifact(chosen: argparse.Namespace) -> None:
    place = Workspace.from_settings()
    manifest = find_artifact(chosen.recipe, place.store)
    if manifest is None:
        _, last, _ = load_chain(chosen)
        manifest = place.store.manifest(last.stage.name, last.fingerprint)
        if manifest is None:
            raise BadInput(
                f"{chosen.recipe}: its report {last.address} is not in the store yet; fuse plan lists the missing steps"
            )
    show_lineage(make_console(), manifest, place.store)


def verify_artifacts(chosen: argparse.Namespace) -> int:
    from flows.upkeep.verify import find_damaged, repair_pieces

    if chosen.resample:
        return resample_rows(chosen)
    if chosen.sample is not None and chosen.sample < 1:
        raise BadInput(f"--sample: must be at least 1, not {chosen.sample}")
    store, console, last, place = Workspace.from_settings().store, make_console(), None, None
    manifest = find_artifact(chosen.recipe, store)
    if manifest and chosen.repair:
        raise BadInput(f"--repair: needs a recipe, to make damaged files again; {chosen.recipe} is an artifact")
    if manifest:
        pieces = pieces_of_artifact(manifest, store)
    else:
        _, last, place = load_chain(chosen)
        pieces = pieces_of_recipe(last, store)
    broken = find_damaged(pieces, store, chosen.sample, seed=time.time_ns())
    show_damage(console, pieces, broken, chosen.sample)
    if broken and chosen.repair:
        assert last is not None and place is not None  # --repair of an artifact was refused
        with Watcher(console) as watcher:
            lines = repair_pieces(broken, last, place, watcher)
        console.print(*lines, sep="\n", markup=False, soft_wrap=True)
        broken = find_damaged(pieces_of_recipe(last, store), store)
        show_damage(console, pieces, broken, None)
    return 1 if broken else 0


def resample_rows(chosen: argparse.Namespace) -> int:
    """Makes a sample of the rows again; the exit code is 1 if a row differs."""
    from flows.upkeep.resample import choose_share, resample_recipe

    if find_artifact(chosen.recipe, Workspace.from_settings().store):
        raise BadInput(f"--resample: needs a recipe, which names the engines; {chosen.recipe} is an artifact")
    seed = time.time_ns() % 2**32 if chosen.seed is None else chosen.seed
    share = choose_share(chosen.resample, seed)
    _, last, place = load_chain(chosen)
    console = make_console()
    with Watcher(console) as watcher:
        results = resample_recipe(last, place, share, seed, watcher)
    show_resampled(console, results)
    console.print(f"\n{share}, seed {seed}")
    return 1 if any(result.equal < result.rows for result in results) else 0
