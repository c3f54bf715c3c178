"""`fuse publish`: a recipe's model or data for a hub; nothing leaves this machine without --push."""

import argparse
import shutil

from flows.cli.console import make_console
from flows.cli.recipes import load_chain
from flows.results.publish import write_for_hub
from infra.scratch import new_scratch

KINDS = {"model": "model", "data": "dataset"}


def publish_recipe(chosen: argparse.Namespace) -> None:
    recipe, last, place = load_chain(chosen)
    console = make_console()
    scratch = new_scratch(place.workspace / "scratch")
    folder = scratch / "hub"
    try:
        write_for_hub(recipe, last, place, chosen.what, chosen.name, folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in files:
            console.print(f"{file.stat().st_size / 1e6:10,.2f} MB  {file.relative_to(folder)}", markup=False)
        kind, access = KINDS[chosen.what], "public" if chosen.public else "private"
        if chosen.push:
            from infra import hub

            console.print(
                f"published: {hub.upload_folder(folder, chosen.name, kind, not chosen.public)}", soft_wrap=True
            )
            return
        console.print((folder / "README.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
        console.print(
            f"nothing was uploaded: --push uploads {len(files)} files to the {access} {kind} {chosen.name}",
            markup=False,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
