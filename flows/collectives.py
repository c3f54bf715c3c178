"""Collective baselines: one answer made of those that several models gave. Three choose and sample nothing, one samples.

What a recipe or an examination says of them, and the steps that follow from it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from flows.suites import NAME, Judge
from tasks.evaluation.choosing import Choosing, SurpriseHow, choose_answers, measure_surprise
from tasks.evaluation.judging import JudgingHow
from tasks.evaluation.mixture import adopt_answers, put_together
from tasks.evaluation.pairwise import Comparing, compare_answers
from tasks.responses.engines import AnyEngine
from tasks.responses.stage import Sampling, sample_responses
from tasks.scores.kinds import Scoring, ScoringHow
from tasks.scores.stage import annotate_rewards
from tasks.stage import Exact, Step, What


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


@dataclass(frozen=True)
class Voices:
    """Who said what to the same prompts, and what a choice among their answers may need."""

    part: str  # of the chain, for the labels
    asked: Mapping[str, Step]  # prompts, and splits where only the held-out ones were asked
    said: Mapping[str, Step]
    models: Mapping[str, Step]
    sampling: Sampling
    engine: AnyEngine
    everyone: tuple[str, ...] = ()  # the members of a collective that names none
    judge: Judge | None = None
    judging: JudgingHow = field(default_factory=JudgingHow)


def collective_answers(
    name: str, chosen: Collective, of: Voices, reward: tuple[Step, Scoring, ScoringHow] | None = None
) -> Step:
    """The collective's answers to the prompts; `reward`: a reward model, and how it reads."""
    members, prompts = chosen.members or of.everyone, of.asked["prompts"]
    said = [of.said[member] for member in members]
    label, what = f"{of.part} · answers of {name}", Choosing(members=members)
    match chosen:
        case BestByReward():
            model, scoring, how = reward
            scores = annotate_rewards(
                f"{of.part} · scores for {name}", prompts=prompts, responses=said, reward=model, what=scoring, how=how
            )
            return choose_answers(label, responses=said, scores=scores, what=what)
        case LowestPerplexity():
            where = SurpriseHow(work_pool=of.engine.work_pool)
            nats = [
                measure_surprise(
                    f"{of.part} · perplexity of {who}", **of.asked, model=of.models[who], what=What(), how=where
                )
                for who in members
            ]
            return choose_answers(label, responses=said, surprises=nats, what=what)
        case Pairwise():
            asked = Comparing(members=members, **of.judge.model_dump(exclude={"both_orders", "how"}))
            compared = compare_answers(
                f"{of.part} · pairs for {name}", prompts=prompts, responses=said, what=asked, how=of.judging
            )
            return choose_answers(label, responses=said, comparisons=compared, what=what)
        case Mixture():
            read = put_together(
                f"{of.part} · answers together for {name}", prompts=prompts, responses=said, what=What()
            )
            model = of.models[chosen.aggregator]
            sampling = of.sampling.model_copy(update={"parts": (), "by_category": {}})
            new = sample_responses(
                f"{of.part} · mixture for {name}", prompts=read, model=model, what=sampling, how=of.engine
            )
            return adopt_answers(label, asked=read, responses=new, what=What())
    raise ValueError(f"there is no collective {chosen!r}")
