"""A recipe's final model, or its training records, as a folder for a hub: the files and a card with licences and lineage."""

import shutil
from pathlib import Path

from flows.config.recipe import Recipe
from flows.results.data_card import list_ancestors, made_from
from flows.results.export import find_finished, write_export
from flows.results.licences import front_matter, licence_section, licences_of, resampled_section
from flows.results.markdown import escape_markdown
from flows.results.model_card import USAGE
from flows.upkeep.resample import read_all_results
from flows.workspace import Workspace
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.stage import Step


def write_for_hub(recipe: Recipe, last: Step, place: Workspace, what: str, name: str, target: Path) -> None:
    """`target`: a new folder."""
    if what == "data":
        write_export(recipe, last, place.store, "hub", target, with_candidates=False)
        return
    report, manifest = find_finished(last, place.store), find_finished(last.inputs["wrpo"][0], place.store)
    names = [entry.name for entry in manifest.files if entry.name.startswith("model/")]
    if not names:
        raise BadInput(f"{manifest.label}: has no model files")
    shutil.copytree(place.store.fetch(manifest, names) / "model", target)
    card = recipe_model_card(recipe, report, manifest, place.numbers(last), place, name)
    (target / "README.md").write_text(card, encoding="utf-8")


def recipe_model_card(
    recipe: Recipe, report: Manifest, manifest: Manifest, numbers: dict, place: Workspace, name: str
) -> str:
    licences, upstream = licences_of(recipe, with_target=True), list_ancestors([manifest], place.store)
    show = lambda rate: "–" if rate is None else f"{rate['value']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})"
    results = [
        f"| {escape_markdown(row['model'])} | {show(row['accuracy'])} | {show(row['win_rate'])} |"
        for row in numbers["results"]
    ]
    about = (
        f"{escape_markdown(recipe.target.title)}, fused with {len(recipe.sources)} source models by preference optimisation "
        f"({escape_markdown(recipe.wrpo.objective)}). `{manifest.stage}/{manifest.fingerprint}`, "
        f"report `{report.stage}/{report.fingerprint}`."
    )
    head = f"On {numbers['held_out']} held-out prompts; win rate against the sources, judge: {escape_markdown(numbers['judge'])}."
    return "\n".join(
        [
            f"---\n{front_matter(recipe, licences, model=True)}\n---\n",
            f"# {escape_markdown(name.rpartition('/')[2])}",
            *("", about, "", "## Results", "", head, ""),
            *("| model | accuracy | win rate |", "|---|---|---|", *results),
            USAGE.format(name=name),
            *licence_section(licences),
            *resampled_section(upstream, read_all_results(upstream, place.store)),
            *made_from(upstream),
        ]
    )
