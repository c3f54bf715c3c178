"""The steps of collective baselines: one answer, made from the answers of several models.

Three kinds choose one of the answers; a mixture samples a new one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flows.config.collectives import BestByRewardAnswer, Collective, LowestPerplexity, Mixture, PairwiseRanking
from flows.config.suites import Judge
from tasks.evaluation.collectives.choosing import CollectiveChoice, PerplexityHow, choose_answers, measure_surprise
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
class CollectiveInputs:
    """Answers of several models to the same prompts, and everything that a choice among the answers may need."""

    part: str  # of the chain, for the labels
    prompts: Mapping[str, Step]  # the prompts, and the splits if only held-out prompts were answered
    responses: Mapping[str, Step]
    models: Mapping[str, Step]
    sampling: Sampling
    engine: Callable[[str], AnyEngine]  # of a model, by its name
    work_pool: str | None  # where perplexities are measured
    default_members: tuple[str, ...] = ()  # for a collective that names no members
    judge: Judge | None = None
    judging: JudgingHow = field(default_factory=JudgingHow)


def collective_answers(
    name: str, collective: Collective, voices: CollectiveInputs, reward: tuple[Step, Scoring, ScoringHow] | None = None
) -> Step:
    """The collective's answers to the prompts. `reward`: a reward model with its scoring settings."""
    members, prompts = collective.members or voices.default_members, voices.prompts["prompts"]
    responses = [voices.responses[member] for member in members]
    label, what = f"{voices.part} · answers of {name}", CollectiveChoice(members=members)
    match collective:
        case BestByRewardAnswer():
            assert reward is not None  # the callers give one to this kind
            model, scoring, how = reward
            scores = annotate_rewards(
                f"{voices.part} · scores for {name}",
                prompts=prompts,
                responses=responses,
                reward=model,
                what=scoring,
                how=how,
            )
            return choose_answers(label, responses=responses, scores=scores, what=what)
        case LowestPerplexity():
            nats = [
                measure_surprise(
                    f"{voices.part} · perplexity of {member}",
                    **voices.prompts,
                    model=voices.models[member],
                    what=What(),
                    how=PerplexityHow(work_pool=voices.work_pool),
                )
                for member in members
            ]
            return choose_answers(label, responses=responses, surprises=nats, what=what)
        case PairwiseRanking():
            assert voices.judge is not None  # check_members refuses this kind without a judge
            comparing = Comparing(members=members, **voices.judge.model_dump(exclude={"both_orders", "how"}))
            compared = compare_answers(
                f"{voices.part} · pairs for {name}",
                prompts=prompts,
                responses=responses,
                what=comparing,
                how=voices.judging,
            )
            return choose_answers(label, responses=responses, comparisons=compared, what=what)
        case Mixture():
            read = put_together(
                f"{voices.part} · answers together for {name}", prompts=prompts, responses=responses, what=What()
            )
            model, engine = voices.models[collective.aggregator], voices.engine(collective.aggregator)
            sampling = voices.sampling.model_copy(update={"parts": (), "by_category": {}})
            new = sample_responses(
                f"{voices.part} · mixture for {name}", prompts=read, model=model, what=sampling, how=engine
            )
            return adopt_answers(label, asked=read, responses=new, what=What())
    raise ValueError(f"there is no collective {collective!r}")
