"""Looks at every model of a recipe before it costs anything: tokenizer, template, context, on the real prompts. No weights.

Models that this project makes itself, and those behind an endpoint that uses a template of its own, are not looked at.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from flows.place import Place
from flows.recipe import Recipe
from infra import hub
from infra.errors import BadInput
from tasks.execution import ensure
from tasks.models.findings import Finding
from tasks.models.stage import Folder, Hub
from tasks.responses.engines import Endpoint
from tasks.stage import Step, lineage


def examine(recipe: Recipe, last: Step, place: Place) -> list[Finding]:
    """Everything that is to be said of the recipe's models; nothing of a recipe that has none to look at."""
    models = [one | {"folder": str(folder)} for one, folder in models_of(recipe)]
    if not models:
        return []
    step = next(each for each in lineage(last) if each.title == "prompt selection")
    prompts = place.store.fetch(ensure(step, place.store, place.launcher), ["prompts.parquet"]) / "prompts.parquet"
    out = place.workspace.absolute() / "scratch" / f"doctor-{uuid.uuid4().hex}"
    try:
        place.launcher.run("tasks.models.examine", {"models": models, "prompts": str(prompts)}, out)
        return [Finding(**found) for found in json.loads((out / "findings.json").read_text())["findings"]]
    finally:
        shutil.rmtree(out, ignore_errors=True)


def models_of(recipe: Recipe) -> Iterator[tuple[dict, Path]]:
    sampling = recipe.sampling.max_new_tokens
    longest = min(recipe.sft.max_length, recipe.wrpo.max_length)
    asked = [("target", recipe.target, sampling, 0, longest)]
    for source in recipe.sources:
        own = (source.sampling or recipe.sampling).max_new_tokens
        asked.append((source.name, source.model, own, source.context, 0))
    scoring, judging = recipe.reward, recipe.evaluation.judge
    asked += [("reward", scoring.model, 0, 0, 0), ("judge", judging.model, 0, 0, 0)]
    for name, model, new, context, trained in asked:
        engine = recipe.how.engine(name)
        if isinstance(model, Folder | Hub) and not (isinstance(engine, Endpoint) and engine.speaks == "chat"):
            said = {"name": name, "answers": new > 0, "max_new_tokens": new, "context": context, "trained": trained}
            yield said | {"origin": origin(model)}, files_of(model)


def files_of(model: Folder | Hub) -> Path:
    return hub.local_copy(model.id, model.revision, weights=False) if isinstance(model, Hub) else Path(model.path)


def origin(model: Folder | Hub) -> str:
    return f"{model.id} at {model.revision}" if isinstance(model, Hub) else f"the folder {model.path}"


def stopping(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    """What is red and not accepted."""
    accepted = recipe.doctor.accepted
    return [one for one in findings if one.red and not {one.check, f"{one.model}.{one.check}"} & accepted.keys()]


def refuse_red(recipe: Recipe, last: Step, place: Place) -> None:
    if red := stopping(recipe, examine(recipe, last, place)):
        lines = "\n".join(f"  {one.model}.{one.check}: {one.text}" for one in red)
        raise BadInput(
            f"the doctor finds what a run would pay for (fuse doctor says more; [doctor.accepted] takes a reason):\n{lines}"
        )
