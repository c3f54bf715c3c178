"""Evaluating models alone: any models on any suites, each suite a chain of its own that ends in its results."""

from flows.examination import Checked, Decoding, Examination, Examined, Judged, OfRecipe, name_of
from flows.fusion import fusion
from flows.recipe import derived, load
from infra.errors import BadInput
from tasks.checks.stage import check_responses
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.evaluation.judging import judge_answers
from tasks.evaluation.measuring import Measuring, measure_suite
from tasks.evaluation.opening import continue_dialogue, open_suite
from tasks.evaluation.suites import SUITES
from tasks.models.stage import obtain_model
from tasks.prompts.stage import select_prompts
from tasks.responses.stage import Sampling, sample_responses
from tasks.stage import Step, What


def chains(examination: Examination) -> dict[str, Step]:
    """The last step of every suite, by its name: its results, of all models."""
    models = {one.name: model_step(one) for one in examination.models}
    return {name_of(suite): of_suite(examination, suite, models) for suite in examination.suites}


def of_suite(examination: Examination, suite: Judged | Checked, models: dict[str, Step]) -> Step:
    name, measured = name_of(suite), {"models": examination.names, "confidence": examination.confidence}
    if isinstance(suite, Checked):
        prompts = select_prompts(**suite.prompts.resolve(f"suites.{name}.prompts"))
        said = [answer(examination, suite, prompts, model, who) for who, model in models.items()]
        facts = [
            checks(suite, prompts, model, who, made) for (who, model), made in zip(models.items(), said, strict=True)
        ]
        what = CheckedResults(suite=name, seed=examination.seed, **measured)
        return measure_checked(f"{name} · results", prompts=prompts, responses=said, checks=facts, what=what)
    opened = open_suite(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    judged = [judgements(examination, suite, opened, model, who) for who, model in models.items()]
    what = Measuring(suite=suite.suite, judge=examination.judge.model, seed=examination.seed, **measured)
    return measure_suite(f"{name} · results", suite=opened, judgements=judged, what=what)


def checks(suite: Checked, prompts: Step, model: Step, who: str, said: Step) -> Step:
    label = f"{name_of(suite)} · checks of {who}"
    return check_responses(label, prompts=prompts, model=model, responses=said, what=suite.checks)


def judgements(examination: Examination, suite: Judged, opened: Step, model: Step, who: str) -> Step:
    said = [answer(examination, suite, opened, model, who)]
    if SUITES[suite.suite].TURNS == 2:
        turns = continue_dialogue(
            f"{name_of(suite)} · second turns of {who}", suite=opened, responses=said, what=What()
        )
        said.append(answer(examination, suite, turns, model, who))
    judge = examination.judge
    return judge_answers(
        f"{name_of(suite)} · judging {who}", suite=opened, responses=said, what=judge.of(suite.suite), how=judge.how
    )


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
