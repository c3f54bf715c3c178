"""Program: a suite's numbers from judgements: parsed replies, intervals by bootstrap over questions, paired differences."""

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
    sheets = {name: sheet(job, place) for place, name in enumerate(what["models"])}
    measured = []
    for place, (name, one) in enumerate(sheets.items()):
        refuse_silence(name, one, what)
        measured += results(name, one, what)
        progress(place + 1, len(sheets), "models")
    found = {
        "suite": what["suite"],
        "judge": what["judge"],
        "confidence": what["confidence"],
        "results": measured,
        "counts": {name: counts(one) for name, one in sheets.items()},
        "differences": differences(sheets, what),
        "examples": examples(sheets),
        "calibration": calibration(sheets, job["published"]),
    }
    (out / "results.json").write_text(json.dumps(found, indent=1, allow_nan=False))
    return {"rows": len(measured), "missing": sum(one["missing"] for one in found["counts"].values())}


def sheet(job: dict, place: int) -> Sheet:
    suite, folder = job["what"]["suite"], Path(job["folder"])
    answers = pd.read_parquet(job["answers"][place])
    return Sheet(
        suite,
        folder,
        {one.question_id: one for one in SUITES[suite].questions(folder)},
        {name: tuple(turns) for name, turns in zip(answers["question_id"], answers["turns"], strict=True)},
        parsed(pd.read_parquet(job["judged"][place]), suite),
    )


def refuse_silence(name: str, one: Sheet, what: dict) -> None:
    """Nothing can be said where the judge has said nothing: it writes no verdicts, or no log-probabilities."""
    if not one.judged_games():
        heard = [reply for reply in one.judged["reply"] if isinstance(reply, str)]
        first = f", the first is {heard[0]:.200}" if heard else ""
        raise BadInput(
            f"{what['suite']}: {what['judge']} gave no verdict on {name}; {len(heard)} replies of {len(one.judged)} games were "
            f"read{first}"
        )


def results(name: str, one: Sheet, what: dict) -> list[dict]:
    full = 10 if what["suite"] in ("mt-bench", "align-bench") else 100
    return [
        {
            "model": name,
            "metric": metric,
            "column": column(metric, what),
            "full_marks": None if metric == "length" else full,
            **rate(found, what["confidence"]),
        }
        for metric, found in metrics(one, sorted(one.judged_questions()), what["seed"]).items()
    ]


def column(metric: str, what: dict) -> str:
    return metric if metric == "length" else f"{metric}@{what['judge']}"


def differences(sheets: dict[str, Sheet], what: dict) -> list[dict]:
    """Of every model to the first; Holm's correction is over all that the suite claims."""
    first, *others = sheets
    found = [
        {"from": first, "to": name, **change, "column": column(change["metric"], what)}
        for name in others
        for change in difference(sheets[first], sheets[name], what["confidence"], what["seed"])
    ]
    say_over_family([change for change in found if change["metric"] != "length"], what["confidence"])
    return found


def examples(sheets: dict[str, Sheet]) -> list[dict]:
    """The first questions by id, so that nobody chose them, with every model's last answer and what was said of it."""
    first = next(iter(sheets.values()))
    said = {name: one.judged.groupby("question_id")["verdict"].agg(list).to_dict() for name, one in sheets.items()}
    return [
        {
            "prompt": first.questions[question].turns[-1],
            "answers": [
                {"model": name, "text": one.answers[question][-1], "verdicts": said[name][question]}
                for name, one in sheets.items()
            ],
        }
        for question in sorted(first.questions)[:EXAMPLES]
    ]


def calibration(sheets: dict[str, Sheet], files: dict[str, str]) -> dict | None:
    """This judge against the published one, on the same answers; of suites whose verdicts are preferences."""
    read = {name: pd.read_parquet(file).set_index("question_id")["preference"] for name, file in files.items()}
    published = {name: known for name, preferences in read.items() if len(known := preferences.dropna())}
    if not published:  # outputs may come without
        return None
    judged = {name: sheets[name].judged.dropna(subset="verdict") for name in published}
    mine = {name: rows.groupby("question_id")["verdict"].mean() for name, rows in judged.items()}
    return of_models(mine, published)


if __name__ == "__main__":
    run(main)
