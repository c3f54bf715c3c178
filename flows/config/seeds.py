"""Derives the seeds of a recipe's sections from the recipe's seed. A seed that a section states is kept."""

import hashlib
from typing import Any

SEEDED = ("prompts", "split", "sampling", "sft", "wrpo", "evaluation")
UNSEEDED = {
    "prompts": {"file", "hub", "sets", "selection"},
    "split": {"given"},
}  # kinds of these sections that use no random numbers


def sown(values: Any) -> Any:
    """The recipe's values with a seed in every section that needs one."""
    if not isinstance(values, dict) or type(values.get("seed")) is not int:
        return {"seed": None, **values} if isinstance(values, dict) else values
    values = {name: dict(part) if isinstance(part, dict) else part for name, part in values.items()}
    for name in SEEDED:
        section = values.get(name)
        if isinstance(section, dict) and section.get("kind") not in list(UNSEEDED.get(name, ())):
            section.setdefault("seed", derived(values["seed"], name))
    values["target"] = sown_model(values, values.get("target"), "target")
    values["reward"] = sown_reward(values, values.get("reward"), "reward")
    if isinstance(evaluation := values.get("evaluation"), dict):
        evaluation["judge"] = sown_reward(values, evaluation.get("judge"), "judge")
    if isinstance(values.get("jury"), list | tuple):
        values["jury"] = [
            sown_reward(values, juror, f"juror {juror.get('name')}") if isinstance(juror, dict) else juror
            for juror in values["jury"]
        ]
    if isinstance(values.get("sources"), list | tuple):
        values["sources"] = [sown_source(values, source) for source in values["sources"]]
    return values


def derived(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=4).digest())


def sown_model(values: dict, model: Any, name: str) -> Any:
    if isinstance(model, dict) and str(model.get("kind", "")).startswith("tiny"):
        return {"seed": derived(values["seed"], name), **model}
    return model


def sown_reward(values: dict, reward: Any, name: str) -> Any:
    return {**reward, "model": sown_model(values, reward.get("model"), name)} if isinstance(reward, dict) else reward


def sown_source(values: dict, source: Any) -> Any:
    if not isinstance(source, dict):
        return source
    seeded = {**source, "model": sown_model(values, source.get("model"), f"source {source.get('name')}")}
    if isinstance(sampling := seeded.get("sampling"), dict):
        shared = values.get("sampling")
        seeded["sampling"] = {**shared, **sampling} if isinstance(shared, dict) else sampling
    return seeded
