"""Right and wrong of a checked suite, where a model has no answer to a prompt: not right, counted, and pairs stay pairs."""

import json

import pandas as pd

from tasks.evaluation.checked import CheckedResults, measure_checked
from tasks.records import PROMPT, RESPONSE
from tasks.rows.pool import write_table
from tasks.stage import What, stage

IDS = [f"p{number}" for number in range(20)]


class Knows(What):
    right: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


@stage("asked", version="1")
def ask(run, what, how):
    asked = [[{"role": "user", "content": f"What of {name}?"}] for name in IDS]
    write_table(
        run,
        pd.DataFrame({"prompt_id": IDS, "messages": asked, "gold": "x"}).reindex(columns=PROMPT.names),
        PROMPT,
        "prompts.parquet",
    )


@stage("said", version="1")
def say(run, what, how):
    names = [name for name in reversed(IDS) if name not in what.silent]
    rows = pd.DataFrame({"prompt_id": names, "sample_index": 0, "text": "So.", "content_id": names})
    write_table(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


@stage("checked", version="1")
def check(run, what, how):
    names = [name for name in IDS if name not in what.silent]
    scores = pd.DataFrame({"content_id": names, "score": [float(name in what.right) for name in names]})
    scores["verdict"], scores["reason"] = "passed", ""
    scores.to_parquet(run.folder / "scores.parquet")


def test_a_prompt_without_an_answer_is_wrong_and_shifts_no_other(workplace):
    knows = [Knows(right=tuple(IDS[:10])), Knows(right=tuple(IDS[5:10]), silent=tuple(IDS[:5]))]
    step = measure_checked(
        prompts=ask(what=What()),
        responses=[say(what=one) for one in knows],
        checks=[check(what=one) for one in knows],
        what=CheckedResults(suite="x", models=("all", "some"), seed=1),
    )
    manifest = workplace.made(step)
    found = json.loads((workplace.store.fetch(manifest, ["results.json"]) / "results.json").read_text())
    assert [one["value"] for one in found["results"]] == [50.0, 25.0]
    (change,) = found["differences"]
    assert change["value"] == -25 and change["p"] == 2 / 2**5  # five lost, none gained
    some = found["counts"]["some"]
    assert (some["questions"], some["missing"], some["invalid"], some["flagged"]) == (20, 5, 0, 0)
    shown = found["examples"][0]["answers"]
    assert (shown[0]["verdicts"], shown[1]["verdicts"], shown[1]["text"]) == (["right"], ["no answer"], None)
