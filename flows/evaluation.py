"""Evaluating models alone: any models on any suites, each suite a chain of its own that ends in its results."""

from flows.examination import (
    Benchmarked,
    BestByReward,
    Checked,
    Collective,
    Decoding,
    Examination,
    Examined,
    Judged,
    OfRecipe,
    name_of,
)
from flows.fusion import fusion
from flows.recipe import derived, load
from infra.errors import BadInput
from tasks.checks.stage import CheckingHow, check_responses
from tasks.evaluation.benchmarks import ComparedTasks, compare_tasks, run_tasks
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.evaluation.choosing import Choosing, SurpriseHow, choose_answers, measure_surprise
from tasks.evaluation.given import Outputs, take_answers
from tasks.evaluation.judging import judge_answers
from tasks.evaluation.measuring import Measuring, measure_suite
from tasks.evaluation.opening import continue_dialogue, open_suite
from tasks.evaluation.suites import SUITES
from tasks.models.stage import obtain_model
from tasks.prompts.stage import select_prompts
from tasks.responses.stage import Sampling, sample_responses
from tasks.scores.stage import ScoringHow, annotate_rewards
from tasks.stage import Step, What


def chains(examination: Examination) -> dict[str, Step]:
    """The last step of every suite, by its name: its results, of all models."""
    models = {
        one.name: model_step(one) for one in examination.models if not isinstance(one.model, Outputs | Collective)
    }
    return {name_of(suite): CHAINS[type(suite)](examination, suite, models) for suite in examination.suites}


def of_benchmark(examination: Examination, suite: Benchmarked, models: dict[str, Step]) -> Step:
    name = name_of(suite)
    at = suite.resolve(f"suites.{name}")
    items = [run_tasks(f"{name} · answers of {who}", model=model, **at) for who, model in models.items()]
    what = ComparedTasks(suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed)
    return compare_tasks(f"{name} · results", items=items, what=what)


def of_checked(examination: Examination, suite: Checked, models: dict[str, Step]) -> Step:
    name = name_of(suite)
    prompts = select_prompts(**suite.prompts.resolve(f"suites.{name}.prompts"))
    said: dict[str, list[Step]] = {}
    for one in examination.models:
        said[one.name] = answers(examination, suite, prompts, one, models, said)
    facts = [checks(suite, prompts, models.get(who, made), who, made) for who, (made,) in said.items()]
    what = CheckedResults(
        suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed
    )
    made = [one for (one,) in said.values()]
    return measure_checked(f"{name} · results", prompts=prompts, responses=made, checks=facts, what=what)


def of_judged(examination: Examination, suite: Judged, models: dict[str, Step]) -> Step:
    name, judge = name_of(suite), examination.judge
    opened = open_suite(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    said: dict[str, list[Step]] = {}
    for one in examination.models:
        said[one.name] = answers(examination, suite, opened, one, models, said)
    judged = [
        judge_answers(
            f"{name} · judging {who}", suite=opened, responses=turns, what=judge.of(suite.suite), how=judge.how
        )
        for who, turns in said.items()
    ]
    published = suite.suite == "alpaca-eval"  # the others' verdicts are not published as preferences
    known = [one.name for one in examination.models if published and isinstance(one.model, Outputs)]
    what = Measuring(
        suite=suite.suite,
        judge=judge.model,
        models=examination.names,
        published=tuple(known),
        confidence=examination.confidence,
        seed=examination.seed,
    )
    given = [said[who][0] for who in known]
    return measure_suite(f"{name} · results", suite=opened, judgements=judged, published=given, what=what)


def checks(suite: Checked, prompts: Step, model: Step, who: str, said: Step) -> Step:
    label = f"{name_of(suite)} · checks of {who}"
    return check_responses(label, prompts=prompts, model=model, responses=said, what=suite.checks, how=CheckingHow())


def answers(
    examination: Examination,
    suite: Judged | Checked,
    opened: Step,
    one: Examined,
    models: dict[str, Step],
    before: dict[str, list[Step]],
) -> list[Step]:
    """A model's answers, a step per turn; or those that a file holds; or the best of those `before`."""
    if isinstance(one.model, Collective):
        return [collective(suite, opened, one, models, before)]
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
    suite: Judged | Checked, opened: Step, one: Examined, models: dict[str, Step], before: dict[str, list[Step]]
) -> Step:
    name, chosen = name_of(suite), one.model
    said = [before[member][0] for member in chosen.members]
    if isinstance(chosen, BestByReward):
        reward = obtain_model(
            f"model · reward of {one.name}", **chosen.reward.model.resolve(f"models.{one.name}.model.reward.model")
        )
        by = {
            "scores": annotate_rewards(
                f"{name} · scores for {one.name}",
                prompts=opened,
                responses=said,
                reward=reward,
                what=chosen.reward.scoring,
                how=ScoringHow(),
            )
        }
    else:
        by = {
            "surprises": [
                measure_surprise(
                    f"{name} · perplexity of {who}", prompts=opened, model=models[who], what=What(), how=SurpriseHow()
                )
                for who in chosen.members
            ]
        }
    what = Choosing(members=chosen.members)
    return choose_answers(f"{name} · answers of {one.name}", responses=said, what=what, **by)


def answer(examination: Examination, suite: Decoding, prompts: Step, model: Step, who: str) -> Step:
    what = Sampling(
        n=1,
        temperature=suite.temperature,
        top_p=suite.top_p,
        max_new_tokens=suite.max_new_tokens,
        seed=derived(examination.seed, "sampling"),
    )
    label = f"{name_of(suite)} · answers of {who}"
    return sample_responses(label, prompts=prompts, model=model, what=what, how=examination.sampling)


def model_step(one: Examined) -> Step:
    field = f"models.{one.name}.model"
    if isinstance(one.model, OfRecipe):
        return made_by(one.model, field)
    return obtain_model(f"model · {one.name}", **one.model.resolve(field))


def made_by(source: OfRecipe, field: str) -> Step:
    """The model of that name among those which the recipe's own evaluation compares."""
    evaluation = fusion(load(source.recipe, source.set)).inputs["evaluation"][0]
    names = (*evaluation.what.models, *evaluation.what.opponents)
    answers = zip(names, evaluation.inputs["answers"], strict=True)
    made = {name: said.inputs["model"][0] for name, said in answers}
    if source.of not in made:
        raise BadInput(f"{field}.of: {source.recipe} has no model {source.of!r}, but {', '.join(made)}")
    return made[source.of]


CHAINS = {Judged: of_judged, Checked: of_checked, Benchmarked: of_benchmark}
