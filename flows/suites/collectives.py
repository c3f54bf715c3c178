"""Collective baselines: one answer made of those that several models gave. Three choose and sample nothing, one samples.

What a recipe or an examination says of them, and the steps that follow from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flows.config.collectives import BestByReward, Collective, LowestPerplexity, Mixture, Pairwise
from flows.config.suites import Judge
from tasks.evaluation.collectives.choosing import Choosing, SurpriseHow, choose_answers, measure_surprise
from tasks.evaluation.collectives.mixture import adopt_answers, put_together
from tasks.evaluation.collectives.pairwise import Comparing, compare_answers
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.responses.engines import AnyEngine
from tasks.responses.settings import Sampling
from tasks.responses.stage import sample_responses
from tasks.scores.settings import Scoring, ScoringHow
from tasks.scores.stage import annotate_rewards
from tasks.stage import Step, What


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
            nats = [
                measure_surprise(
                    f"{of.part} · perplexity of {who}", **of.asked, model=of.models[who], what=What(), how=SurpriseHow()
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
