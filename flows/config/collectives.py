"""Collective baselines in a user's file: one answer, made from the answers of several models."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from flows.config.suites import NAME, Judge
from tasks.stage import Exact


class Collective(Exact):
    """A baseline that is not a model: it uses the answers of other models."""

    members: tuple[str, ...] = Field(
        default=(), description="names of models; if answers are equally good, the first member's is taken"
    )


class BestByRewardAnswer(Collective):
    """The answer that a reward model scores highest."""

    kind: Literal["best-by-reward"]


class LowestPerplexity(Collective):
    """The answer of the model for which the prompt has the lowest perplexity: PackLLM's Top1-PPL."""

    kind: Literal["lowest-perplexity"]


class PairwiseRanking(Collective):
    """The answer that wins most pairwise comparisons, as LLM-Blender ranks; the judge is an endpoint."""

    kind: Literal["pairwise"]


class Mixture(Collective):
    """The answer of an aggregator model that reads the members' answers: one layer of Mixture-of-Agents. Only this
    collective samples new text."""

    kind: Literal["mixture-of-agents"]
    aggregator: str = Field(description="name of the model that reads the members' answers and writes its own")


class NamedCollective(Exact):
    """A collective of a recipe's evaluation."""

    name: str = Field(pattern=NAME)
    model: Annotated[BestByRewardAnswer | LowestPerplexity | PairwiseRanking | Mixture, Field(discriminator="kind")]


def check_members(
    field: str, collective: Collective, answering: Collection[str], models: Collection[str], judge: Judge | None
) -> None:
    """Raises ValueError for an unknown or unusable member. `answering` have answers; `models` can also be prompted."""
    if len(set(collective.members)) < 2:
        raise ValueError(f"{field}.members: a collective needs at least two members")
    if unknown := set(collective.members) - set(answering):
        raise ValueError(f"{field}.members: there is no model {min(unknown)!r} before this one")
    if isinstance(collective, LowestPerplexity) and (not_models := set(collective.members) - set(models)):
        raise ValueError(f"{field}.members: {min(not_models)!r} is not a model and has no perplexity")
    if isinstance(collective, Mixture) and collective.aggregator not in models:
        raise ValueError(f"{field}.aggregator: there is no model {collective.aggregator!r} that can be prompted")
    if isinstance(collective, PairwiseRanking) and judge is None:
        raise ValueError(f"{field}: 'pairwise' needs a judge at an endpoint")
