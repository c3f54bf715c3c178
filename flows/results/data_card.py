"""The card of an exported data set: what is in it, how many rows were dropped and why, from what it was made."""

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
* `preference`: a column per role, null where the rule fills none: `source_best` (written by `source`), `source_worst`
  (written by `worst_source`), `own_best` and `own_worst` (the fine-tuned target's own); each with its `…_score`.
"""
CANDIDATES = (
    "* `candidates`: every response that these were chosen from, with its score; `prompts`: what they answer.\n"
)
LICENCES = """
## Licences

Its rows hold the prompts above, whose licences stand there as the recipe states them, and words of the models below. The
licences of all of these bear on what may be done with it: look them up before you publish it, and put them here.
"""


def data_card(recipe: Recipe, made: dict[str, Manifest], store: Store, with_candidates: bool) -> str:
    names = ["sft", "preference", *(["candidates", "prompts"] if with_candidates else [])]
    front = FRONT.format(configs="\n".join(CONFIG.format(name=name) for name in names))
    upstream = ancestors(list(made.values()), store)
    counts = [
        f"| {label} | {plain(name.replace('_', ' '))} | {value:,} |"
        for label, one in made.items()
        for name, value in one.counts.items()
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
    """Where the prompts are from, set by set, how many, and under which licence."""
    (selected,) = [manifest for manifest in upstream if manifest.stage == "prompt-selection"]
    match recipe.prompts:
        case PromptSets(sets=sets):
            pass
        case ReadySelection() as ready:
            sets = ready.sets().sets
        case source:
            return [f"* {source.kind}: {selected.counts['rows']:,} prompts; licence not recorded"]
    lines = []
    for one in sets:
        what = one.source
        where = f"`{what.id}` at `{what.revision}`" if what.kind == "hub" else code(what.path)
        count = selected.counts.get(f"from_{one.name}", selected.counts["rows"])
        lines.append(f"* {one.name}: {where}, {count:,} prompts; licence: {plain(one.licence) or 'not recorded'}")
    return lines


def made_from(upstream: list[Manifest]) -> list[str]:
    """The end of a card: the models that something was made from, and every step to it."""
    models = [f"* {plain(one.label)}: {identity(one)}" for one in upstream if one.stage == "model"]
    steps = [
        f"| {plain(one.label)} | `{one.stage}/{one.fingerprint[:12]}` | {plain(one.version)} | {plain(one.commit)} | "
        f"{plain(one.started)} |"
        for one in upstream
    ]
    head = ("| step | address | version | commit | made |", "|---|---|---|---|---|")
    return [*models, "", "## Lineage", "", *head, *steps, ""]


def identity(manifest: Manifest) -> str:
    """What is known of a model: where it comes from, or that it was made here."""
    what = manifest.what
    hub = what.get("kind") == "hub"
    return f"{code(what['id'])} at {code(what['revision'])}" if hub else f"{plain(what.get('kind'))}, licence unknown"


def ancestors(manifests: list[Manifest], store: Store) -> list[Manifest]:
    """All that these stand on and they themselves, each once, inputs before their users."""
    seen: dict[str, Manifest] = {}

    def visit(manifest: Manifest) -> None:
        if manifest.fingerprint not in seen:
            for reference in (one for references in manifest.inputs.values() for one in references):
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
