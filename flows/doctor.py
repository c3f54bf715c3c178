"""Looks at every model of a recipe before it costs anything: tokenizer, template, context, on the real prompts. No weights.
And at what a training would miss on this machine.

Models that this project makes itself, and those behind an endpoint that uses a template of its own, are not looked at.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from flows.config.recipe import Recipe
from flows.workspace import Place
from infra import hub
from infra.errors import BadInput
from tasks.doctor.findings import Finding
from tasks.execution import ensure
from tasks.models.stage import Folder, Hub
from tasks.responses.engines import Endpoint
from tasks.scores.settings import Reading, SequenceClassifier
from tasks.stage import Step, lineage

NO_LENGTHS = {"max_new_tokens": 0, "context": 0, "trained": 0, "scored": 0}


def examine(recipe: Recipe, last: Step, place: Place) -> list[Finding]:
    """Everything that is to be said of the recipe's trainings and models; nothing of a recipe that has none to look at."""
    models, found = [one | {"folder": str(folder)} for one, folder in models_of(recipe)], lacking(recipe)
    if not models:
        return found
    chosen = ensure(prompts_of(last), place.store, place.launcher)
    prompts = place.store.fetch(chosen, ["prompts.parquet"]) / "prompts.parquet"
    out = place.workspace.absolute() / "scratch" / f"doctor-{uuid.uuid4().hex}"
    try:
        place.launcher.run("tasks.doctor.examine", {"models": models, "prompts": str(prompts)}, out)
        return found + [Finding(**one) for one in json.loads((out / "findings.json").read_text())["findings"]]
    finally:
        shutil.rmtree(out, ignore_errors=True)


def lacking(recipe: Recipe) -> list[Finding]:
    """Packages without which a training would fail here, when all that comes before it is paid for. What a work pool has
    only its workers know."""
    found = []
    for stage in ("sft", "wrpo") if recipe.sft.form != "none" else ("wrpo",):
        lora, how = getattr(recipe, stage).lora, getattr(recipe.how, stage)
        needed = {"bitsandbytes": lora and lora.base == "nf4", "deepspeed": how.deepspeed}
        missing = [name for name in needed if needed[name] and not how.work_pool and find_spec(name) is None]
        found += [Finding(stage, "packages", True, f"needs {name}, which is not installed here") for name in missing]
    return found


def models_of(recipe: Recipe) -> Iterator[tuple[dict, Path]]:
    longest = min(recipe.sft.max_length, recipe.wrpo.max_length)
    asked = [("target", recipe.target, {"max_new_tokens": recipe.sampling.max_new_tokens, "trained": longest})]
    for source in recipe.sources:
        own = (source.sampling or recipe.sampling).max_new_tokens
        asked.append((source.name, source.model, {"max_new_tokens": own, "context": source.context}))
    rewards = {"reward": recipe.reward, "judge": recipe.evaluation.judge} | {one.name: one for one in recipe.jury}
    for name, one in rewards.items():
        lengths = {"scored": one.scoring.max_length} if isinstance(one.scoring, Reading) else {}
        asked.append((name, one.model, lengths))
    for name, model, lengths in asked:
        engine = recipe.how.engine(name)
        if isinstance(model, Folder | Hub) and not (isinstance(engine, Endpoint) and engine.speaks == "chat"):
            said = {"name": name, "origin": origin(model), "answers": "max_new_tokens" in lengths}
            said["classifies"] = name in rewards and isinstance(rewards[name].scoring, SequenceClassifier)
            yield said | NO_LENGTHS | lengths, files_of(model)


def files_of(model: Folder | Hub) -> Path:
    return hub.local_copy(model.id, model.revision, weights=False) if isinstance(model, Hub) else Path(model.path)


def origin(model: Folder | Hub) -> str:
    return f"{model.id} at {model.revision}" if isinstance(model, Hub) else f"the folder {model.path}"


def stopping(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    """What is red and not accepted."""
    accepted = recipe.doctor.accepted
    return [one for one in findings if one.red and not {one.check, f"{one.model}.{one.check}"} & accepted.keys()]


def refuse_red_of_any(runs: Iterable[tuple[Recipe, Step]], place: Place) -> None:
    """Of variants of a recipe: the same models on the same prompts are looked at once."""
    looked_at = set()
    for recipe, last in runs:
        models = [[one, str(folder)] for one, folder in models_of(recipe)]
        missing = [one.text for one in lacking(recipe)]
        subject = json.dumps([models, prompts_of(last).address, missing, sorted(recipe.doctor.accepted)])
        if subject not in looked_at:
            looked_at.add(subject)
            refuse_red(recipe, last, place)


def prompts_of(last: Step) -> Step:
    return next(each for each in lineage(last) if each.title == "prompt selection")


def refuse_red(recipe: Recipe, last: Step, place: Place) -> None:
    if red := stopping(recipe, examine(recipe, last, place)):
        lines = "\n".join(f"  {one.model}.{one.check}: {one.text}{one.hint and f'; {one.hint}'}" for one in red)
        raise BadInput(
            f"the doctor finds what a run would pay for (fuse doctor says more; [doctor.accepted] takes a reason):\n{lines}"
        )
