"""The last models of two runs on the suites that both have, question by question: a step like a suite's own results."""

from collections.abc import Mapping

from flows.config.matrix import FULL
from tasks.stage import Step

VARIANT = "variant"  # the name in a comparison, whatever the variant is called, so that equal pairs share a step
OF_MODELS = ("judgements", "responses", "checks", "items")  # a step for each model; other inputs are of them all


def goals(reports: Mapping[str, Step]) -> list[Step]:
    """Of runs by their names, the base first: their reports, and all the others' comparisons with the base."""
    full, *others = reports
    return [
        *reports.values(),
        *(step for name in others for step in comparisons(reports[full], reports[name], name).values()),
    ]


def comparisons(full: Step, variant: Step, name: str) -> dict[str, Step]:
    """By suite; what was asked or judged in another way is not compared."""
    base = suites_of(full)
    return {
        suite: against(base[suite], results, f"{suite} · {name} against the base")
        for suite, results in suites_of(variant).items()
        if suite in base and asked(base[suite]) == asked(results)
    }


def suites_of(report: Step) -> dict[str, Step]:
    """The results of a run's suites, by their names."""
    return dict(zip(report.what.suites, report.inputs["suites"], strict=True))


def asked(results: Step) -> list:
    """Which questions, and how it was found what the answers are worth."""
    shared = [step.address for kind, steps in results.inputs.items() if kind not in OF_MODELS for step in steps]
    judging = [steps[-1] for kind, steps in results.inputs.items() if kind in OF_MODELS and kind != "responses"]
    questions = [step.address for one in judging for step in one.inputs.get("questions", ())]
    return [results.stage.name, shared, questions, [one.what for one in judging]]


def against(full: Step, variant: Step, label: str) -> Step:
    inputs = {
        kind: (steps[-1], variant.inputs[kind][-1]) if kind in OF_MODELS else steps
        for kind, steps in full.inputs.items()
    }
    return full.stage(label, what=full.what.model_copy(update={"models": (FULL, VARIANT)}), how=full.how, **inputs)
