"""The card of an exported data set: its contents, its rules, the counts of dropped rows, and its lineage."""

import json

from flows.config.recipe import Recipe
from flows.results.markdown import code, plain
from infra.errors import BadInput
from infra.manifest import Manifest
from infra.store import Store
from tasks.prompts.sets import PromptSets, ReadySelection

FRONT = """---
license: unknown
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
LICENCES = """
## Licences

The rows contain the prompts above, with the licences that the recipe states, and texts written by the models below. The
licences of all of these limit the use of this data set: look them up before you publish it, and write them here.
"""


def data_card(recipe: Recipe, made: dict[str, Manifest], store: Store, with_candidates: bool) -> str:
    names = ["sft", "preference", *(["candidates", "prompts"] if with_candidates else [])]
    front = FRONT.format(configs="\n".join(CONFIG.format(name=name) for name in names))
    upstream = ancestors(list(made.values()), store)
    counts = [
        f"| {label} | {plain(name.replace('_', ' '))} | {value:,} |"
        for label, manifest in made.items()
        for name, value in manifest.counts.items()
    ]
    rules = [f"* {label}: {code(json.dumps(manifest.what['rule']))}" for label, manifest in made.items()]
    return "\n".join(
        [
            front,
            f"# Training records of the recipe {recipe.name}",
            FIELDS + (CANDIDATES if with_candidates else ""),
            *("## Prompts", "", *prompt_sets(recipe, upstream), ""),
            *("## Rules", "", *rules, ""),
            *("## Counts", "", "| of | what | rows |", "|---|---|---|", *counts),
            LICENCES,
            *made_from(upstream),
        ]
    )


def prompt_sets(recipe: Recipe, upstream: list[Manifest]) -> list[str]:
    """For each prompt set: its origin, the number of prompts, and the licence."""
    (selected,) = [manifest for manifest in upstream if manifest.stage == "prompt-selection"]
    match recipe.prompts:
        case PromptSets(sets=sets):
            pass
        case ReadySelection() as ready:
            sets = ready.sets().sets
        case source:
            return [f"* {source.kind}: {selected.counts['rows']:,} prompts; licence not recorded"]
    lines = []
    for prompt_set in sets:
        what = prompt_set.source
        where = f"`{what.id}` at `{what.revision}`" if what.kind == "hub" else code(what.path)
        count = selected.counts.get(f"from_{prompt_set.name}", selected.counts["rows"])
        lines.append(
            f"* {prompt_set.name}: {where}, {count:,} prompts; licence: {plain(prompt_set.licence) or 'not recorded'}"
        )
    return lines


def made_from(upstream: list[Manifest]) -> list[str]:
    """The end of a card: the models that were used, and every step of the lineage."""
    models = [f"* {plain(manifest.label)}: {identity(manifest)}" for manifest in upstream if manifest.stage == "model"]
    steps = [
        f"| {plain(manifest.label)} | `{manifest.stage}/{manifest.fingerprint[:12]}` | {plain(manifest.version)} | "
        f"{plain(manifest.commit)} | {plain(manifest.started)} |"
        for manifest in upstream
    ]
    head = ("| step | address | version | commit | made |", "|---|---|---|---|---|")
    return [*models, "", "## Lineage", "", *head, *steps, ""]


def identity(manifest: Manifest) -> str:
    """A model's hub id and revision, or its kind if it is not from a hub."""
    what = manifest.what
    hub = what.get("kind") == "hub"
    return f"{code(what['id'])} at {code(what['revision'])}" if hub else f"{plain(what.get('kind'))}, licence unknown"


def ancestors(manifests: list[Manifest], store: Store) -> list[Manifest]:
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
