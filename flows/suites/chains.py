"""The chain of every suite: questions, every model's answers, judgements or checks of the answers, results."""

from collections.abc import Mapping

from flows.config.examination import Examination, Outputs, examine_recipe
from flows.config.recipe import Recipe
from flows.config.suites import Benchmarked, Checked, Coding, Judged, Live, LiveCode, LiveCoding, Plus, suite_name
from flows.suites.answers import answer_suite
from tasks.checks.stage import CheckingHow, check_responses
from tasks.evaluation.benchmarks.coding import measure_coding_tasks, open_coding_suite
from tasks.evaluation.benchmarks.item_results import ItemResults
from tasks.evaluation.benchmarks.live_bench import measure_live_bench, open_live_bench, score_live_bench
from tasks.evaluation.benchmarks.lm_eval import compare_tasks, run_tasks
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.evaluation.judged.judgements import judge_answers
from tasks.evaluation.judged.questions import open_suite
from tasks.evaluation.judged.results import Measuring, measure_suite
from tasks.prompts.stage import select_prompts
from tasks.stage import Step, What


def suite_chains(examination: Examination, models: Mapping[str, Step]) -> dict[str, Step]:
    """The last step of every suite, by the suite's name. `models`: the models that answer."""
    return {suite_name(suite): CHAINS[type(suite)](examination, suite, dict(models)) for suite in examination.suites}


def suite_results(recipe: Recipe, models: Mapping[str, Step]) -> dict[str, Step]:
    """The last step of every suite of a recipe, for the recipe's models. The others are compared with the first model."""
    return suite_chains(examine_recipe(recipe, tuple(models)), models) if recipe.evaluation.suites else {}


def of_benchmark(examination: Examination, suite: Benchmarked, models: dict[str, Step]) -> Step:
    name = suite_name(suite)
    settings = suite.resolve(f"suites.{name}")
    items = [run_tasks(f"{name} · answers of {key}", model=model, **settings) for key, model in models.items()]
    what = ItemResults(suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed)
    return compare_tasks(f"{name} · results", items=items, what=what)


def of_checked(examination: Examination, suite: Checked, models: dict[str, Step]) -> Step:
    prompts = select_prompts(**suite.prompts.resolve(f"suites.{suite_name(suite)}.prompts"))
    return check_suite(examination, suite, models, prompts)


def of_coding(examination: Examination, suite: Coding, models: dict[str, Step]) -> Step:
    name = suite_name(suite)
    return check_suite(
        examination, suite, models, open_coding_suite(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    )


def check_suite(examination: Examination, suite: Checked | Coding, models: dict[str, Step], prompts: Step) -> Step:
    """Answers to prompts with gold, their checks, and results. LiveBench weights its tasks equally, the others their items."""
    name = suite_name(suite)
    responses: dict[str, list[Step]] = {}
    for examined in examination.models:
        responses[examined.name] = answer_suite(examination, suite, prompts, examined, models, responses)
    checked = [
        check_suite_answers(suite, prompts, models.get(key, made), key, made) for key, (made,) in responses.items()
    ]
    settings = {"suite": name, "models": examination.names, "confidence": examination.confidence}
    inputs = {"prompts": prompts, "responses": [step for (step,) in responses.values()], "checks": checked}
    if isinstance(suite, LiveCoding):
        what = ItemResults(**settings, seed=examination.seed)
        return measure_coding_tasks(f"{name} · results", **inputs, what=what)
    return measure_checked(f"{name} · results", **inputs, what=CheckedResults(**settings, seed=examination.seed))


def of_judged(examination: Examination, suite: Judged, models: dict[str, Step]) -> Step:
    name, judge = suite_name(suite), examination.judge
    assert judge is not None  # an examination with such a suite has one
    opened = open_suite(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    responses: dict[str, list[Step]] = {}
    for examined in examination.models:
        responses[examined.name] = answer_suite(examination, suite, opened, examined, models, responses)
    judged = [
        judge_answers(
            f"{name} · judging {key}", suite=opened, responses=turns, what=judge.of(suite.suite), how=judge.how
        )
        for key, turns in responses.items()
    ]
    published = suite.suite == "alpaca-eval"  # the other suites do not publish their verdicts as preferences
    known = [examined.name for examined in examination.models if published and isinstance(examined.model, Outputs)]
    what = Measuring(
        suite=suite.suite,
        judge=judge.model,
        models=examination.names,
        published=tuple(known),
        confidence=examination.confidence,
        seed=examination.seed,
    )
    published_answers = [responses[key][0] for key in known]
    return measure_suite(f"{name} · results", suite=opened, judgements=judged, published=published_answers, what=what)


def of_live_bench(examination: Examination, suite: Live, models: dict[str, Step]) -> Step:
    name = suite_name(suite)
    opened = open_live_bench(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    responses: dict[str, list[Step]] = {}
    for examined in examination.models:
        responses[examined.name] = answer_suite(examination, suite, opened, examined, models, responses)
    scores = [
        score_live_bench(f"{name} · scores of {key}", questions=opened, responses=made, what=What())
        for key, made in responses.items()
    ]
    what = ItemResults(suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed)
    return measure_live_bench(f"{name} · results", items=scores, what=what)


def check_suite_answers(suite: Checked | Coding, prompts: Step, model: Step, name: str, responses: Step) -> Step:
    label = f"{suite_name(suite)} · checks of {name}"
    return check_responses(
        label, prompts=prompts, model=model, responses=responses, what=suite.checks, how=CheckingHow()
    )


CHAINS = {
    Judged: of_judged,
    Checked: of_checked,
    Benchmarked: of_benchmark,
    Live: of_live_bench,
    **dict.fromkeys((LiveCode, LiveCoding, Plus), of_coding),
}
