"""How a model's answers to a suite come about: sampled, turn by turn; read from a file; or chosen among other models' answers."""

from collections.abc import Mapping

from flows.config.collectives import Collective
from flows.config.examination import BestByReward, Examination, Examined, Outputs
from flows.config.recipe import Recipe
from flows.config.seeds import derived
from flows.config.suites import Decoding, Judged, name_of
from flows.suites.collectives import Voices, collective_answers
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


def answers(
    examination: Examination,
    suite: Decoding,
    opened: Step,
    one: Examined,
    models: dict[str, Step],
    before: dict[str, list[Step]],
) -> list[Step]:
    """A model's answers, a step per turn; or those that a file holds; or the best of those `before`."""
    if isinstance(one.model, Collective):
        return [collective(examination, suite, opened, one, models, before)]
    if isinstance(one.model, Outputs):
        at = one.model.resolve(f"models.{one.name}.model")
        return [take_answers(f"{name_of(suite)} · outputs of {one.name}", suite=opened, **at)]
    said = [answer(examination, suite, opened, models[one.name], one.name)]
    if isinstance(suite, Judged) and SUITES[suite.suite].TURNS == 2:
        label = f"{name_of(suite)} · second turns of {one.name}"
        turns = continue_dialogue(label, suite=opened, responses=said, what=What())
        said.append(answer(examination, suite, turns, models[one.name], one.name))
    return said


def collective(
    examination: Examination,
    suite: Decoding,
    opened: Step,
    one: Examined,
    models: dict[str, Step],
    before: dict[str, list[Step]],
) -> Step:
    reward, judge = None, examination.judge
    if isinstance(one.model, BestByReward):
        chosen = one.model.reward
        model = obtain_model(f"model · reward of {one.name}", **chosen.resolve(f"models.{one.name}.model.reward.model"))
        reward = (model, chosen.scoring, ScoringHow())
    voices = Voices(
        part=name_of(suite),
        asked={"prompts": opened},
        said={name: said[0] for name, said in before.items()},
        models=models,
        sampling=sampling(examination, suite),
        engine=examination.sampling,
        judge=judge,
        judging=judge.how if judge else JudgingHow(),
    )
    return collective_answers(one.name, one.model, voices, reward)


def answer(examination: Examination, suite: Decoding, prompts: Step, model: Step, who: str) -> Step:
    label, what = f"{name_of(suite)} · answers of {who}", sampling(examination, suite)
    return sample_responses(label, prompts=prompts, model=model, what=what, how=examination.sampling)


def baselines(
    recipe: Recipe,
    asked: Mapping[str, Step],
    said: Mapping[str, Step],
    models: Mapping[str, Step],
    sources: tuple[str, ...],
    reward: Step,
) -> dict[str, Step]:
    """A recipe's collectives, of what its sources answered to the held-out prompts; `reward` is its reward model."""
    chosen, how = recipe.evaluation, recipe.how
    voices = Voices(
        part="evaluation",
        asked=asked,
        said=said,
        models=models,
        sampling=recipe.sampling.on(n=1, temperature=chosen.temperature),
        engine=how.sampling,
        everyone=sources,
        judge=chosen.open_judge,
        judging=how.judging,
    )
    by = (reward, recipe.reward.scoring, how.scoring)
    return {one.name: collective_answers(one.name, one.model, voices, by) for one in chosen.collectives}


def check_answers(recipe: Recipe, prompts: Step, said: Mapping[str, Step], models: Mapping[str, Step]) -> list[Step]:
    """Checks of each model's held-out answers; none where the recipe has no [checks]."""
    if recipe.checks is None:
        return []
    return [
        check_responses(
            f"evaluation · checks of {name}",
            prompts=prompts,
            model=models.get(name, answers),  # a collective is no model: its answers stand for it
            responses=answers,
            what=recipe.checks,
            how=recipe.how.checking,
        )
        for name, answers in said.items()
    ]


def sampling(examination: Examination, suite: Decoding) -> Sampling:
    return Sampling(
        n=1,
        temperature=suite.temperature,
        top_p=suite.top_p,
        max_new_tokens=suite.max_new_tokens,
        seed=derived(examination.seed, "sampling"),
    )
