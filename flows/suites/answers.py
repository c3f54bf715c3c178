"""Steps for a model's answers to a suite: sampled turn by turn, read from a file, or chosen from other models' answers."""

from collections.abc import Mapping
from typing import cast

from flows.config.collectives import Collective
from flows.config.examination import Examination, Examined, ExaminedBestByReward, Outputs
from flows.config.recipe import Recipe
from flows.config.seeds import derive_seed
from flows.config.suites import DecodedSuite, Judged, suite_name
from flows.suites.collectives import CollectiveInputs, collective_answers
from tasks.checks.stage import check_responses
from tasks.evaluation.judged.given_answers import take_answers
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.evaluation.judged.questions import continue_dialogue
from tasks.evaluation.judged.suites import SUITES
from tasks.models.stage import obtain_model
from tasks.responses.settings import Sampling
from tasks.responses.stage import sample_responses
from tasks.scores.settings import ScoringHow
from tasks.stage import Step, What


def answer_suite(
    examination: Examination,
    suite: DecodedSuite,
    questions: Step,
    examined: Examined,
    models: dict[str, Step],
    earlier: dict[str, list[Step]],
) -> list[Step]:
    """A model's answers, one step per turn. `earlier`: the answers of the models before it, which a collective uses."""
    name = examined.name
    if isinstance(examined.model, Collective):
        return [answer_as_collective(examination, suite, questions, examined, models, earlier)]
    if isinstance(examined.model, Outputs):
        outputs = examined.model.resolve(f"models.{name}.model")
        return [take_answers(f"{suite_name(suite)} · outputs of {name}", suite=questions, **outputs)]
    responses = [sample_answers(examination, suite, questions, models[name], name)]
    if isinstance(suite, Judged) and SUITES[suite.suite].turns == 2:
        label = f"{suite_name(suite)} · second turns of {name}"
        turns = continue_dialogue(label, suite=questions, responses=responses, what=What())
        responses.append(sample_answers(examination, suite, turns, models[name], name))
    return responses


def answer_as_collective(
    examination: Examination,
    suite: DecodedSuite,
    questions: Step,
    examined: Examined,
    models: dict[str, Step],
    earlier: dict[str, list[Step]],
) -> Step:
    reward, judge, name = None, examination.judge, examined.name
    if isinstance(examined.model, ExaminedBestByReward):
        chosen = examined.model.reward
        model = obtain_model(f"model · reward of {name}", **chosen.resolve(f"models.{name}.model.reward.model"))
        reward = (model, chosen.scoring, ScoringHow(work_pool=examination.sampling.work_pool))
    voices = CollectiveInputs(
        part=suite_name(suite),
        prompts={"prompts": questions},
        responses={member: turns[0] for member, turns in earlier.items()},
        models=models,
        sampling=suite_sampling(examination, suite),
        engine=examination.engine,
        work_pool=examination.sampling.work_pool,
        judge=judge,
        judging=judge.how if judge else JudgingHow(),
    )
    return collective_answers(name, cast("Collective", examined.model), voices, reward)


def sample_answers(examination: Examination, suite: DecodedSuite, prompts: Step, model: Step, name: str) -> Step:
    label, what = f"{suite_name(suite)} · answers of {name}", suite_sampling(examination, suite)
    return sample_responses(label, prompts=prompts, model=model, what=what, how=examination.engine(name))


def answer_baselines(
    recipe: Recipe,
    prompts: Mapping[str, Step],
    responses: Mapping[str, Step],
    models: Mapping[str, Step],
    sources: tuple[str, ...],
    reward: Step,
) -> dict[str, Step]:
    """The answers of a recipe's collectives, made from its sources' answers to the held-out prompts. `reward` is the
    recipe's reward model."""
    chosen, how = recipe.evaluation, recipe.how
    voices = CollectiveInputs(
        part="evaluation",
        prompts=prompts,
        responses=responses,
        models=models,
        sampling=recipe.sampling.on(n=1, temperature=chosen.temperature),
        engine=how.engine,
        work_pool=how.sampling.work_pool,
        default_members=sources,
        judge=chosen.open_judge,
        judging=how.judging,
    )
    scoring = (reward, recipe.reward.scoring, how.scoring)
    return {named.name: collective_answers(named.name, named.model, voices, scoring) for named in chosen.collectives}


def check_answers(
    recipe: Recipe, prompts: Step, responses: Mapping[str, Step], models: Mapping[str, Step]
) -> list[Step]:
    """Checks of each model's held-out answers; an empty list if the recipe has no [checks]."""
    if recipe.checks is None:
        return []
    return [
        check_responses(
            f"evaluation · checks of {name}",
            prompts=prompts,
            model=models.get(name, answers),  # a collective has no model step: its answers take that place
            responses=answers,
            what=recipe.checks,
            how=recipe.how.checking,
        )
        for name, answers in responses.items()
    ]


def suite_sampling(examination: Examination, suite: DecodedSuite) -> Sampling:
    return Sampling(
        n=1,
        temperature=suite.temperature,
        top_p=suite.top_p,
        max_new_tokens=suite.max_new_tokens,
        seed=derive_seed(examination.seed, "sampling"),
    )
