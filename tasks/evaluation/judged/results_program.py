"""Program: computes a suite's metrics from judgements, with bootstrap intervals over questions and paired differences."""

import json
from pathlib import Path

import pandas as pd

from infra.errors import BadInput
from tasks.evaluation.judged.calibration import calibrate_judge
from tasks.evaluation.judged.metrics import (
    AnswerSheet,
    add_verdicts,
    compare_answer_sheets,
    compute_suite_metrics,
    count_judged_games,
    estimate_metric,
)
from tasks.evaluation.judged.suites import SUITES
from tasks.evaluation.statistics import apply_holm
from tasks.program import Progress, run_program

EXAMPLES = 6


def main(job: dict, out: Path, progress: Progress) -> dict:
    what = job["what"]
    sheets = {name: read_answer_sheet(job, place) for place, name in enumerate(what["models"])}
    measured = []
    for place, (name, sheet) in enumerate(sheets.items()):
        check_any_verdict(name, sheet, what)
        measured += make_result_rows(name, sheet, what)
        progress(place + 1, len(sheets), "models")
    report = {
        "suite": what["suite"],
        "judge": what["judge"],
        "confidence": what["confidence"],
        "results": measured,
        "counts": {name: count_judged_games(sheet) for name, sheet in sheets.items()},
        "differences": compare_with_first(sheets, what),
        "examples": pick_judged_examples(sheets),
        "calibration": compare_with_published(sheets, job["published"]),
    }
    (out / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False))
    return {"rows": len(measured), "missing": sum(totals["missing"] for totals in report["counts"].values())}


def read_answer_sheet(job: dict, place: int) -> AnswerSheet:
    suite, folder = job["what"]["suite"], Path(job["folder"])
    answers = pd.read_parquet(job["answers"][place])
    return AnswerSheet(
        suite,
        folder,
        {question.question_id: question for question in SUITES[suite].read_questions(folder)},
        {name: tuple(turns) for name, turns in zip(answers["question_id"], answers["turns"], strict=True)},
        add_verdicts(pd.read_parquet(job["judged"][place]), suite),
    )


def check_any_verdict(name: str, sheet: AnswerSheet, what: dict) -> None:
    """Raises BadInput if no reply has a verdict: the judge wrote none, or its endpoint returns no log-probabilities."""
    if not sheet.judged_games():
        replies = [reply for reply in sheet.judged["reply"] if isinstance(reply, str)]
        first = f", the first is {replies[0]:.200}" if replies else ""
        raise BadInput(
            f"{what['suite']}: {what['judge']} gave no verdict on {name}; {len(replies)} replies to {len(sheet.judged)} games "
            f"were read{first}"
        )


def make_result_rows(name: str, sheet: AnswerSheet, what: dict) -> list[dict]:
    full_marks = SUITES[what["suite"]].full_marks
    return [
        {
            "model": name,
            "metric": metric,
            "column": name_judged_column(metric, what),
            "full_marks": None if metric == "length" else full_marks,
            **estimate_metric(measured, what["confidence"]),
        }
        for metric, measured in compute_suite_metrics(sheet, sorted(sheet.judged_questions()), what["seed"]).items()
    ]


def name_judged_column(metric: str, what: dict) -> str:
    return metric if metric == "length" else f"{metric}@{what['judge']}"


def compare_with_first(sheets: dict[str, AnswerSheet], what: dict) -> list[dict]:
    """The gain of each other model over the first. Holm's correction covers all metrics of the suite, except the length."""
    first, *others = sheets
    changes = [
        {"from": first, "to": name, **change, "column": name_judged_column(change["metric"], what)}
        for name in others
        for change in compare_answer_sheets(sheets[first], sheets[name], what["confidence"], what["seed"])
    ]
    apply_holm([change for change in changes if change["metric"] != "length"], what["confidence"])
    return changes


def pick_judged_examples(sheets: dict[str, AnswerSheet]) -> list[dict]:
    """The first questions by id (not chosen by hand), with each model's last answer and its verdicts."""
    first = next(iter(sheets.values()))
    verdicts = {
        name: sheet.judged.groupby("question_id")["verdict"].agg(list).to_dict() for name, sheet in sheets.items()
    }
    return [
        {
            "prompt": first.questions[question].turns[-1],
            "answers": [
                {"model": name, "text": sheet.answers[question][-1], "verdicts": verdicts[name][question]}
                for name, sheet in sheets.items()
            ],
        }
        for question in sorted(first.questions)[:EXAMPLES]
    ]


def compare_with_published(sheets: dict[str, AnswerSheet], files: dict[str, str]) -> dict | None:
    """Compares this judge with the published one on the same answers, for suites whose verdicts are preferences."""
    tables = {name: pd.read_parquet(file).set_index("question_id")["preference"] for name, file in files.items()}
    published = {name: known for name, preferences in tables.items() if len(known := preferences.dropna())}
    if not published:  # files of outputs may have no preferences
        return None
    judged = {name: sheets[name].judged.dropna(subset="verdict") for name in published}
    preferences = {name: rows.groupby("question_id")["verdict"].mean() for name, rows in judged.items()}
    return calibrate_judge(preferences, published)


if __name__ == "__main__":
    run_program(main)
