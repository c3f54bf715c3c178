"""Checks every model of a recipe before a run: tokenizer, chat template and context length, on the real prompts. Loads no
weights. Also checks that this machine has the packages and GPUs that the run needs.

Skips models that this project makes itself, and models behind an endpoint that applies its own chat template.
"""

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from flows.config.recipe import Recipe
from flows.workspace import Workspace
from infra import hub
from infra.errors import BadInput
from infra.gpus import find_gpus
from tasks.doctor.findings import Finding
from tasks.execution import ensure_artifact
from tasks.models.stage import HubModel, ModelFolder, RewardSource, SourceModel
from tasks.responses.engines import EndpointEngine
from tasks.scores.settings import Reading, SequenceClassifier
from tasks.stage import Step, lineage

NO_LENGTHS = {"max_new_tokens": 0, "context": 0, "trained": 0, "scored": 0}


def examine_models(recipe: Recipe, last: Step, place: Workspace) -> list[Finding]:
    """All findings about the recipe's trainings and models; an empty list if there is no model to check."""
    models = [model | {"folder": str(folder)} for model, folder in list_examined_models(recipe)]
    found = [*find_missing_packages(recipe), *find_gpu_shortage(last)]
    if not models:
        return found
    chosen = ensure_artifact(find_prompt_step(last), place.store, place.launcher)
    prompts = place.store.fetch(chosen, ["prompts.parquet"]) / "prompts.parquet"
    out = place.workspace.absolute() / "scratch" / f"doctor-{uuid.uuid4().hex}"
    try:
        place.launcher.run("tasks.doctor.examine", {"models": models, "prompts": str(prompts)}, out)
        return found + [Finding(**values) for values in json.loads((out / "findings.json").read_text())["findings"]]
    finally:
        shutil.rmtree(out, ignore_errors=True)


def find_missing_packages(recipe: Recipe) -> list[Finding]:
    """Missing packages that would make a training fail here, late in the run. Stages on a work pool are not checked: only
    its workers know their packages."""
    found = []
    for stage in ("sft", "wrpo") if recipe.sft.form != "none" else ("wrpo",):
        lora, how = getattr(recipe, stage).lora, getattr(recipe.how, stage)
        needed = {"bitsandbytes": lora and lora.base == "nf4", "deepspeed": how.deepspeed}
        missing = [name for name in needed if needed[name] and not how.work_pool and find_spec(name) is None]
        found += [Finding(stage, "packages", True, f"needs {name}, which is not installed here") for name in missing]
    return found


def find_gpu_shortage(last: Step) -> list[Finding]:
    """Steps with a program that needs more GPUs than this machine has (if it has any). Steps on a work pool are not checked:
    a worker gives back a run that needs more GPUs than it has."""
    available = len(find_gpus())
    too_wide = [step for step in lineage(last) if not step.how.work_pool and step.gpus > available > 0]
    text = "one program needs {} GPUs, this machine has {}"
    return [Finding(step.label, "gpus", True, text.format(step.gpus, available)) for step in too_wide]


def list_examined_models(recipe: Recipe) -> Iterator[tuple[dict, Path]]:
    longest = min(recipe.sft.max_length, recipe.wrpo.max_length)
    models: list[tuple[str, SourceModel | RewardSource, dict[str, int]]] = [
        ("target", recipe.target, {"max_new_tokens": recipe.sampling.max_new_tokens, "trained": longest})
    ]
    for source in recipe.sources:
        max_new_tokens = (source.sampling or recipe.sampling).max_new_tokens
        models.append((source.name, source.model, {"max_new_tokens": max_new_tokens, "context": source.context}))
    rewards = {"reward": recipe.reward, "judge": recipe.evaluation.judge}
    rewards |= {juror.name: juror for juror in recipe.jury}
    for name, reward in rewards.items():
        lengths = {"scored": reward.scoring.max_length} if isinstance(reward.scoring, Reading) else {}
        models.append((name, reward.model, lengths))
    for name, model, lengths in models:
        engine = recipe.how.engine(name)
        if isinstance(model, ModelFolder | HubModel) and not (
            isinstance(engine, EndpointEngine) and engine.speaks == "chat"
        ):
            facts = {"name": name, "origin": describe_origin(model), "answers": "max_new_tokens" in lengths}
            facts["classifies"] = name in rewards and isinstance(rewards[name].scoring, SequenceClassifier)
            yield facts | NO_LENGTHS | lengths, files_of(model)


def files_of(model: ModelFolder | HubModel) -> Path:
    return hub.local_copy(model.id, model.revision, weights=False) if isinstance(model, HubModel) else Path(model.path)


def describe_origin(model: ModelFolder | HubModel) -> str:
    return f"{model.id} at {model.revision}" if isinstance(model, HubModel) else f"the folder {model.path}"


def select_blocking(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    """The red findings that the recipe does not accept; they stop a run."""
    accepted = recipe.doctor.accepted
    return [
        finding
        for finding in findings
        if finding.red and not {finding.check, f"{finding.model}.{finding.check}"} & accepted.keys()
    ]


def refuse_red_of_any(runs: Iterable[tuple[Recipe, Step]], place: Workspace) -> None:
    """Checks the variants of a recipe; the same models on the same prompts are checked once."""
    checked = set()
    for recipe, last in runs:
        models = [[model, str(folder)] for model, folder in list_examined_models(recipe)]
        missing = [finding.text for finding in (*find_missing_packages(recipe), *find_gpu_shortage(last))]
        subject = json.dumps([models, find_prompt_step(last).address, missing, sorted(recipe.doctor.accepted)])
        if subject not in checked:
            checked.add(subject)
            refuse_red(recipe, last, place)


def find_prompt_step(last: Step) -> Step:
    return next(each for each in lineage(last) if each.title == "prompt selection")


def refuse_red(recipe: Recipe, last: Step, place: Workspace) -> None:
    refuse(select_blocking(recipe, examine_models(recipe, last, place)))


def refuse(red: list[Finding]) -> None:
    if red:
        lines = "\n".join(
            f"  {finding.model}.{finding.check}: {finding.text}{finding.hint and f'; {finding.hint}'}"
            for finding in red
        )
        raise BadInput(
            "the doctor found problems that would spoil this run (fuse doctor shows all findings; to accept one, give the "
            f"reason in [doctor.accepted]):\n{lines}"
        )
