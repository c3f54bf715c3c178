"""The chain of every suite: questions, every model's answers, what is said of them, results."""

from collections.abc import Mapping

from flows.config.examination import Examination, Outputs, of_recipe
from flows.config.recipe import Recipe
from flows.config.suites import Benchmarked, Checked, Judged, Live, name_of
from flows.suites.answers import answers
from tasks.checks.stage import CheckingHow, check_responses
from tasks.evaluation.benchmarks.item_results import Compared
from tasks.evaluation.benchmarks.live_bench import measure_live_bench, open_live_bench, score_live_bench
from tasks.evaluation.benchmarks.lm_eval import compare_tasks, run_tasks
from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.evaluation.judged.judgements import judge_answers
from tasks.evaluation.judged.questions import open_suite
from tasks.evaluation.judged.results import Measuring, measure_suite
from tasks.prompts.stage import select_prompts
from tasks.stage import Step, What


def suite_chains(examination: Examination, models: Mapping[str, Step]) -> dict[str, Step]:
    """The last step of every suite, by its name; `models` are those that are asked."""
    return {name_of(suite): CHAINS[type(suite)](examination, suite, dict(models)) for suite in examination.suites}


def suite_results(recipe: Recipe, models: Mapping[str, Step]) -> dict[str, Step]:
    """The same of a recipe's suites and its own models; the first is what the others are compared with."""
    return suite_chains(of_recipe(recipe, tuple(models)), models) if recipe.evaluation.suites else {}


def of_benchmark(examination: Examination, suite: Benchmarked, models: dict[str, Step]) -> Step:
    name = name_of(suite)
    at = suite.resolve(f"suites.{name}")
    items = [run_tasks(f"{name} · answers of {who}", model=model, **at) for who, model in models.items()]
    what = Compared(suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed)
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


def of_live_bench(examination: Examination, suite: Live, models: dict[str, Step]) -> Step:
    name = name_of(suite)
    opened = open_live_bench(f"{name} · questions", **suite.resolve(f"suites.{name}"))
    said: dict[str, list[Step]] = {}
    for one in examination.models:
        said[one.name] = answers(examination, suite, opened, one, models, said)
    scores = [
        score_live_bench(f"{name} · scores of {who}", questions=opened, responses=made, what=What())
        for who, made in said.items()
    ]
    what = Compared(suite=name, models=examination.names, confidence=examination.confidence, seed=examination.seed)
    return measure_live_bench(f"{name} · results", items=scores, what=what)


def checks(suite: Checked, prompts: Step, model: Step, who: str, said: Step) -> Step:
    label = f"{name_of(suite)} · checks of {who}"
    return check_responses(label, prompts=prompts, model=model, responses=said, what=suite.checks, how=CheckingHow())


CHAINS = {Judged: of_judged, Checked: of_checked, Benchmarked: of_benchmark, Live: of_live_bench}
