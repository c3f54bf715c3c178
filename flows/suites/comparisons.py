"""Compares the final models of two runs, question by question, on the suites they share. A comparison is a step."""

from collections.abc import Mapping
from typing import cast

from flows.config.matrix import FULL
from tasks.report.stage import Report
from tasks.stage import Step

VARIANT = "variant"  # a fixed name instead of the variant's, so that equal comparisons share a step
OF_MODELS = ("judgements", "responses", "checks", "items")  # inputs with one step per model; models share the others


def reports_and_comparisons(reports: Mapping[str, Step]) -> list[Step]:
    """The reports of all runs, and the comparisons of each run with the base. The base is the first of `reports`."""
    full, *others = reports
    return [
        *reports.values(),
        *(step for name in others for step in compare_suites(reports[full], reports[name], name).values()),
    ]


def compare_suites(full: Step, variant: Step, name: str) -> dict[str, Step]:
    """The comparison steps by suite; leaves out suites that the two runs asked or judged differently."""
    base = suites_of(full)
    return {
        suite: compare_to_base(base[suite], results, f"{suite} · {name} against the base")
        for suite, results in suites_of(variant).items()
        if suite in base and describe_questions(base[suite]) == describe_questions(results)
    }


def suites_of(report: Step) -> dict[str, Step]:
    """The results of a run's suites, by the suite's name."""
    return dict(zip(cast("Report", report.what).suites, report.inputs["suites"], strict=True))


def describe_questions(results: Step) -> list:
    """The questions of a suite and the settings of its judging, to compare with those of another run."""
    shared = [step.address for kind, steps in results.inputs.items() if kind not in OF_MODELS for step in steps]
    judging = [steps[-1] for kind, steps in results.inputs.items() if kind in OF_MODELS and kind != "responses"]
    questions = [question.address for step in judging for question in step.inputs.get("questions", ())]
    return [results.stage.name, shared, questions, [step.what for step in judging]]


def compare_to_base(full: Step, variant: Step, label: str) -> Step:
    inputs = {
        kind: (steps[-1], variant.inputs[kind][-1]) if kind in OF_MODELS else steps
        for kind, steps in full.inputs.items()
    }
    return full.stage(label, what=full.what.model_copy(update={"models": (FULL, VARIANT)}), how=full.how, **inputs)
