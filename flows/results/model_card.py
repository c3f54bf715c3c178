"""Writes a model that passed its gate as a folder for a hub: its files, and a card with results, lineage and licences."""

import shutil
from pathlib import Path

from flows.config.recipe import Recipe
from flows.results.data_card import list_ancestors, made_from
from flows.results.licences import front_matter, licence_section, licences_of, resampled_section
from flows.results.markdown import escape_markdown
from flows.upkeep.resample import read_all_results
from flows.workspace import Workspace
from infra.errors import BadInput
from infra.manifest import Manifest
from infra.store import Store
from tasks.stage import Step

FRONT = "license: unknown\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [wrpo, model-fusion]"
USAGE = """
## Usage

```python
from transformers import pipeline

ask = pipeline("text-generation", model="{name}")
print(ask([{{"role": "user", "content": "…"}}], max_new_tokens=512)[0]["generated_text"][-1]["content"])
```
"""
LICENCES = """
## Licences

Unknown: not recorded for this model. It was made from the models below and from texts that they wrote. The licences of all of
these, and of the prompts, limit the use of this model: look them up before you publish it, and write them here.
"""


def promote_model(model: Step, found: dict, place: Workspace, target: Path, recipe: Recipe | None = None) -> None:
    """Writes the model and its card into a draft folder beside the target, and renames it when it is complete."""
    manifest = place.store.manifest(model.stage.name, model.fingerprint)
    assert manifest is not None  # it was evaluated
    names = [entry.name for entry in manifest.files if entry.name.startswith("model/")]
    if not names:
        raise BadInput(
            f"--promote: {model.label} is a model of a hub; only a model that was trained here can be promoted"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BadInput(f"--promote {target}: exists already; name a new folder or an empty one")
    draft = target.with_name(f".{target.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(place.store.fetch(manifest, names) / "model", draft)
    (draft / "README.md").write_text(model_card(found, manifest, place.store, recipe), encoding="utf-8")
    if target.exists():
        target.rmdir()
    draft.rename(target)


def model_card(found: dict, manifest: Manifest, store: Store, recipe: Recipe | None = None) -> str:
    """`recipe`: the recipe that made the model, if it is known: the card then lists its licences."""
    licences = licences_of(recipe, with_target=True) if recipe else []
    name, upstream = found["models"][-1], list_ancestors([manifest], store)
    return "\n".join(
        [
            f"---\n{front_matter(recipe, licences, model=True) if recipe else FRONT}\n---\n",
            f"# {escape_markdown(name)}",
            "",
            f"`{manifest.stage}/{manifest.fingerprint}`, examined as {escape_markdown(found['name'])}.",
            *("", "## Results", "", *list_results(found, name)),
            USAGE.format(name="PATH-OR-NAME-OF-THIS-MODEL"),
            *(licence_section(licences) if recipe else [LICENCES]),
            *resampled_section(upstream, read_all_results(upstream, store)),
            *made_from(upstream),
        ]
    )


def list_results(found: dict, name: str) -> list[str]:
    """Every result with its interval, its judge and its counts; and the differences to the models it was compared with."""
    rows = [
        f"| {escape_markdown(suite['name'])} | {escape_markdown(result['column'])} | {result['value']:.2f} | "
        f"{result['low']:.2f} to {result['high']:.2f} | {suite['counts'][name]['questions']} | "
        f"{suite['counts'][name]['missing']} | {suite['counts'][name]['flagged']} |"
        for suite in found["suites"]
        for result in suite["results"]
        if result["model"] == name
    ]
    changes = [
        f"* {escape_markdown(suite['name'])}, {escape_markdown(change['column'])}: {change['value']:+.2f} "
        f"({change['low']:+.2f} to {change['high']:+.2f}) against {escape_markdown(change['from'])}"
        for suite in found["suites"]
        for change in suite["differences"]
        if change["to"] == name
    ]
    heads = ["| suite | metric | value | interval | questions | missing | flagged |", "|---|---|---|---|---|---|---|"]
    return [*heads, *rows, "", *changes]
