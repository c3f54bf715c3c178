"""The card of an exported data set: its contents, its rules, the counts of dropped rows, and its lineage."""

import json

from flows.config.recipe import Recipe
from flows.results.licences import front_matter, licence_section, licences_of, list_prompt_sets, resampled_section
from flows.results.markdown import escape_markdown, quote_code
from flows.upkeep.resample import read_all_results
from infra.errors import BadInput
from infra.manifest import Manifest
from infra.store import Store

FRONT = """---
{licence}
configs:
{configs}
---
"""
CONFIG = "- config_name: {name}\n  data_files: {name}/*.parquet"
FIELDS = """
* `sft`: `messages` and the `response` to imitate, its `source` and `score`.
* `preference`: a column per role, null if the rule does not fill it: `source_best` (written by `source`), `source_worst`
  (written by `worst_source`), `own_best` and `own_worst` (written by the fine-tuned target); each with its `…_score`.
"""
CANDIDATES = (
    "* `candidates`: all responses that the rules chose from, with their scores; `prompts`: the prompts they answer.\n"
)


def data_card(recipe: Recipe, made: dict[str, Manifest], store: Store, with_candidates: bool) -> str:
    names = ["sft", "preference", *(["candidates", "prompts"] if with_candidates else [])]
    licences = licences_of(recipe, with_target=False)
    configs = "\n".join(CONFIG.format(name=name) for name in names)
    front = FRONT.format(licence=front_matter(recipe, licences, model=False), configs=configs)
    upstream = list_ancestors(list(made.values()), store)
    counts = [
        f"| {label} | {escape_markdown(name.replace('_', ' '))} | {value:,} |"
        for label, manifest in made.items()
        for name, value in manifest.counts.items()
    ]
    rules = [f"* {label}: {quote_code(json.dumps(manifest.what['rule']))}" for label, manifest in made.items()]
    return "\n".join(
        [
            front,
            f"# Training records of the recipe {recipe.name}",
            FIELDS + (CANDIDATES if with_candidates else ""),
            *("## Prompts", "", *prompt_sets(recipe, upstream), ""),
            *("## Rules", "", *rules, ""),
            *("## Counts", "", "| of | what | rows |", "|---|---|---|", *counts),
            "",
            *licence_section(licences),
            *resampled_section(upstream, read_all_results(upstream, store)),
            *made_from(upstream),
        ]
    )


def prompt_sets(recipe: Recipe, upstream: list[Manifest]) -> list[str]:
    """For each prompt set: its origin, the number of prompts, and the licence."""
    (selected,) = [manifest for manifest in upstream if manifest.stage == "prompt-selection"]
    sets = list_prompt_sets(recipe)
    if sets is None:
        return [f"* {recipe.prompts.kind}: {selected.counts['rows']:,} prompts; licence not recorded"]
    lines = []
    for prompt_set in sets:
        what = prompt_set.source
        where = f"`{what.id}` at `{what.revision}`" if what.kind == "hub" else quote_code(what.path)
        count = selected.counts.get(f"from_{prompt_set.name}", selected.counts["rows"])
        lines.append(
            f"* {prompt_set.name}: {where}, {count:,} prompts; licence: {escape_markdown(prompt_set.licence) or 'not recorded'}"
        )
    return lines


def made_from(upstream: list[Manifest]) -> list[str]:
    """The end of a card: the models that were used, and every step of the lineage."""
    models = [
        f"* {escape_markdown(manifest.label)}: {describe_identity(manifest)}"
        for manifest in upstream
        if manifest.stage == "model"
    ]
    steps = [
        f"| {escape_markdown(manifest.label)} | `{manifest.stage}/{manifest.fingerprint[:12]}` | "
        f"{escape_markdown(manifest.version)} | {escape_markdown(manifest.commit)} | {escape_markdown(manifest.started)} |"
        for manifest in upstream
    ]
    head = ("| step | address | version | commit | made |", "|---|---|---|---|---|")
    return ["## Models", "", *models, "", "## Lineage", "", *head, *steps, ""]


def describe_identity(manifest: Manifest) -> str:
    """A model's hub id and revision, or its kind if it is not from a hub."""
    what = manifest.what
    hub = what.get("kind") == "hub"
    return (
        f"{quote_code(what['id'])} at {quote_code(what['revision'])}"
        if hub
        else f"{escape_markdown(what.get('kind'))}, licence unknown"
    )


def list_ancestors(manifests: list[Manifest], store: Store) -> list[Manifest]:
    """These artifacts and everything that they were made from, each once, inputs before their users."""
    seen: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        if manifest.fingerprint not in seen:
            for reference in (item for references in manifest.inputs.values() for item in references):
                upstream = store.manifest(reference.stage, reference.fingerprint)
                if upstream is None:
                    raise BadInput(
                        f"{manifest.label}: {reference.stage}/{reference.fingerprint} is not in the store any more"
                    )
                visit(upstream)
            seen.setdefault(manifest.fingerprint, manifest)

    for manifest in manifests:
        visit(manifest)
    return list(seen.values())
