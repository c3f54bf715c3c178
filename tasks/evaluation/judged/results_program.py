"""Program: computes a suite's metrics from judgements, with bootstrap intervals over questions and paired differences."""

import json
from pathlib import Path

import pandas as pd

from infra.errors import BadInput
from tasks.evaluation.judged.calibration import of_models
from tasks.evaluation.judged.metrics import Sheet, counts, difference, metrics, parsed, rate
from tasks.evaluation.judged.suites import SUITES
from tasks.evaluation.statistics import say_over_family
from tasks.program import Progress, run

EXAMPLES = 6


def main(job: dict, out: Path, progress: Progress) -> dict:
    what = job["what"]
    sheets = {name: read_answer_sheet(job, place) for place, name in enumerate(what["models"])}
    measured = []
    for place, (name, sheet) in enumerate(sheets.items()):
        refuse_silence(name, sheet, what)
        measured += results(name, sheet, what)
        progress(place + 1, len(sheets), "models")
    report = {
        "suite": what["suite"],
        "judge": what["judge"],
        "confidence": what["confidence"],
        "results": measured,
        "counts": {name: counts(sheet) for name, sheet in sheets.items()},
        "differences": differences(sheets, what),
        "examples": examples(sheets),
        "calibration": calibration(sheets, job["published"]),
    }
    (out / "results.json").write_text(json.dumps(report, indent=1, allow_nan=False))
    return {"rows": len(measured), "missing": sum(totals["missing"] for totals in report["counts"].values())}


def read_answer_sheet(job: dict, place: int) -> Sheet:
    suite, folder = job["what"]["suite"], Path(job["folder"])
    answers = pd.read_parquet(job["answers"][place])
    return Sheet(
        suite,
        folder,
        {question.question_id: question for question in SUITES[suite].read_questions(folder)},
        {name: tuple(turns) for name, turns in zip(answers["question_id"], answers["turns"], strict=True)},
        parsed(pd.read_parquet(job["judged"][place]), suite),
    )


def refuse_silence(name: str, sheet: Sheet, what: dict) -> None:
    """Raises BadInput if no reply has a verdict: the judge wrote none, or its endpoint returns no log-probabilities."""
    if not sheet.judged_games():
        replies = [reply for reply in sheet.judged["reply"] if isinstance(reply, str)]
        first = f", the first is {replies[0]:.200}" if replies else ""
        raise BadInput(
            f"{what['suite']}: {what['judge']} gave no verdict on {name}; {len(replies)} replies to {len(sheet.judged)} games "
            f"were read{first}"
        )


def results(name: str, sheet: Sheet, what: dict) -> list[dict]:
    full_marks = SUITES[what["suite"]].full_marks
    return [
        {
            "model": name,
            "metric": metric,
            "column": column(metric, what),
            "full_marks": None if metric == "length" else full_marks,
            **rate(measured, what["confidence"]),
        }
        for metric, measured in metrics(sheet, sorted(sheet.judged_questions()), what["seed"]).items()
    ]


def column(metric: str, what: dict) -> str:
    return metric if metric == "length" else f"{metric}@{what['judge']}"


def differences(sheets: dict[str, Sheet], what: dict) -> list[dict]:
    """The gain of each other model over the first. Holm's correction covers all metrics of the suite, except the length."""
    first, *others = sheets
    changes = [
        {"from": first, "to": name, **change, "column": column(change["metric"], what)}
        for name in others
        for change in difference(sheets[first], sheets[name], what["confidence"], what["seed"])
    ]
    say_over_family([change for change in changes if change["metric"] != "length"], what["confidence"])
    return changes


def examples(sheets: dict[str, Sheet]) -> list[dict]:
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


def calibration(sheets: dict[str, Sheet], files: dict[str, str]) -> dict | None:
    """Compares this judge with the published one on the same answers, for suites whose verdicts are preferences."""
    tables = {name: pd.read_parquet(file).set_index("question_id")["preference"] for name, file in files.items()}
    published = {name: known for name, preferences in tables.items() if len(known := preferences.dropna())}
    if not published:  # files of outputs may have no preferences
        return None
    judged = {name: sheets[name].judged.dropna(subset="verdict") for name in published}
    preferences = {name: rows.groupby("question_id")["verdict"].mean() for name, rows in judged.items()}
    return of_models(preferences, published)


if __name__ == "__main__":
    run(main)
