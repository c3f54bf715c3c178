"""Collective baselines as their user writes them: one answer made of those that several models gave."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from flows.config.suites import NAME, Judge
from tasks.stage import Exact


class Collective(Exact):
    """No model of its own: it has the answers of others."""

    members: tuple[str, ...] = Field((), description="names; of equal ones the first has it")


class BestByReward(Collective):
    """The answer that a reward model likes best."""

    kind: Literal["best-by-reward"]


class LowestPerplexity(Collective):
    """The answer of the model that the prompt surprises least: PackLLM's Top1-PPL."""

    kind: Literal["lowest-perplexity"]


class Pairwise(Collective):
    """The answer that wins most pairs before a judge who sees both, as LLM-Blender ranks; the judge is an endpoint."""

    kind: Literal["pairwise"]


class Mixture(Collective):
    """What a model answers that has read the members' answers: one layer of Mixture-of-Agents. This one samples."""

    kind: Literal["mixture-of-agents"]
    aggregator: str = Field(description="the name of the model that reads and answers")


class Named(Exact):
    """A collective of a recipe's evaluation."""

    name: str = Field(pattern=NAME)
    model: Annotated[BestByReward | LowestPerplexity | Pairwise | Mixture, Field(discriminator="kind")]


def refuse(field: str, one: Collective, there: Collection[str], models: Collection[str], judge: Judge | None) -> None:
    """What a collective lacks, said as a ValueError: `there` are who answers, `models` those who can be asked something."""
    if len(set(one.members)) < 2:
        raise ValueError(f"{field}.members: a collective has two at least")
    if unknown := set(one.members) - set(there):
        raise ValueError(f"{field}.members: no model before it is called {min(unknown)!r}")
    if isinstance(one, LowestPerplexity) and (beside := set(one.members) - set(models)):
        raise ValueError(f"{field}.members: {min(beside)!r} is no model, and has no perplexity")
    if isinstance(one, Mixture) and one.aggregator not in models:
        raise ValueError(f"{field}.aggregator: there is no model {one.aggregator!r} that could be asked")
    if isinstance(one, Pairwise) and judge is None:
        raise ValueError(f"{field}: 'pairwise' needs a judge at an endpoint")
