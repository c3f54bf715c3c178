"""What a recipe says of suites and collective baselines, run to its results by a judge at an endpoint. What models would have
made is put into the store: they cost minutes, and everything that follows from their answers is real."""

import json

import pandas as pd
import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.plan import plan_all
from infra.manifest import Manifest
from tasks.records import RESPONSE, content_id
from tasks.responses.stage import select_prompts
from tasks.stage import Step, lineage
from tests.chain.small import write_recipe
from tests.evaluation.made import folder_of, reply
from tests.stub_endpoint import moody, stub_endpoint

MORE = """
how.judging = {{ url = "{url}", first_wait = 0.0 }}

[[evaluation.collectives]]
name = "best-of-sources"
model = {{ kind = "best-by-reward" }}
[[evaluation.collectives]]
name = "least-surprised"
model = {{ kind = "lowest-perplexity" }}
[[evaluation.collectives]]
name = "pairs"
model = {{ kind = "pairwise" }}
[[evaluation.collectives]]
name = "mixture"
model = {{ kind = "mixture-of-agents", aggregator = "source-1" }}
[evaluation.open_judge]
model = "stub-1"

[[evaluation.suites]]
suite = "alpaca-eval"
path = "{path}"
max_new_tokens = 8
"""
REAL = (
    *("prompt selection", "splitting", "answers together", "mixture answers", "pairwise comparison"),
    *("collective answers", "evaluation", "suite", "judging", "suite results"),
)


def judge(body: dict) -> dict:
    shown = body["messages"][-1]["content"]
    if "assistant A" in shown:
        return {"content": "[[A]]" if len(shown) % 2 else "[[C]]"}
    return reply("alpaca-eval", len(shown) % 7 / 7, "as is")


def made(step: Step, workplace) -> Manifest:
    """What is real is made; of a model's work stands there what it could have left."""
    if step.stage.title in REAL or workplace.store.manifest(step.stage.name, step.fingerprint):
        return workplace.made(step)
    folder = workplace.folder / "put" / step.fingerprint
    folder.mkdir(parents=True)
    match step.stage.title:
        case "per-model sampling":
            said(step, workplace).reindex(columns=RESPONSE.names).to_parquet(folder / "responses.parquet")
        case "reward annotation":
            answers = pd.concat(read(one, "responses.parquet", workplace) for one in step.inputs["responses"])
            scores = answers.drop_duplicates("content_id")["content_id"].to_frame()
            scores.assign(score=scores["content_id"].str[:2].map(lambda digits: int(digits, 16))).to_parquet(
                folder / "scores.parquet"
            )
        case "prompt perplexity":
            asked = read(step.inputs["prompts"][0], "prompts.parquet", workplace)[["prompt_id"]]
            asked.assign(nats=float(step.label[-1])).to_parquet(folder / "perplexity.parquet")
        case _:
            (folder / "nothing").touch()
    rest = {"inputs": {}, "files": (), "counts": {}, "provenance": {}, "started": "", "seconds": 0, "attempt": "a"}
    named = {"stage": step.stage.name, "version": "1", "fingerprint": step.fingerprint, "label": step.label, "what": {}}
    return workplace.store.publish(folder, Manifest(**named, **rest))


def read(step: Step, name: str, workplace) -> pd.DataFrame:
    return pd.read_parquet(workplace.store.fetch(workplace.made(step), [name]) / name)


def said(step: Step, workplace) -> pd.DataFrame:
    files = [
        workplace.store.fetch(workplace.made(one), [name]) / name
        for kind, name in (("prompts", "prompts.parquet"), ("splits", "splits.parquet"))
        for one in step.inputs.get(kind, ())
    ]
    asked = select_prompts(files[0], files[1] if len(files) > 1 else None, step.what)["prompt_id"]
    rows = pd.DataFrame({"prompt_id": asked, "sample_index": 0, "tokens": 1})
    rows["text"] = [f"{step.label.split()[-1]} says {prompt[:8]}" for prompt in asked]
    rows["content_id"] = [content_id(*pair) for pair in zip(rows["prompt_id"], rows["text"], strict=True)]
    return rows


@pytest.fixture
def lasts(tmp_path):
    """The recipe's last steps but its report: its evaluation, and its suite's results."""

    def of(url: str) -> list[Step]:
        recipe = write_recipe(tmp_path)
        text = recipe.read_text().replace("count = 60", "count = 24")
        folder = tmp_path / "alpaca"
        path = folder if folder.exists() else folder_of("alpaca-eval", folder, 4)
        head, sources, rest = text.partition("\n[[sources]]")
        how, _, tables = MORE.format(url=url, path=path).partition("\n\n")
        recipe.write_text(f"{head}\n{how}\n{sources}{rest}\n{tables}")
        report = fusion(load_recipe(str(recipe)))
        return [*report.inputs["evaluation"], *report.inputs["suites"]]

    return of


def test_a_recipes_suites_and_baselines_are_judged_once(lasts, workplace):
    with stub_endpoint(judge, moody) as stub:
        steps = lasts(stub.url)
        for last in steps:
            manifests = [made(step, workplace) for step in lineage(last)]
        assert stub.answered.total() > 0 and set(stub.answered.values()) == {1}
        assert not any(one.runs for one in plan_all(steps, workplace.store))
    assert manifests[-1].stage == "suite-results"
    evaluation, suite = (
        json.loads((workplace.store.fetch(workplace.made(last), ["results.json"]) / "results.json").read_text())
        for last in steps
    )
    collectives = ["best-of-sources", "least-surprised", "pairs", "mixture"]
    assert [one["model"] for one in evaluation["results"] if one["role"] == "collective"] == collectives
    compared = {(one["from"], one["to"]) for one in evaluation["differences"] if one["metric"] == "win_rate"}
    assert {(name, "WRPO") for name in collectives} < compared
    rows = {name: rows.set_index("prompt_id") for name, rows in answers(steps[0], workplace).groupby("model")}
    sources = [rows["source-1"], rows["source-2"]]
    assert (rows["best-of-sources"]["score"] == pd.concat([one["score"] for one in sources], axis=1).max(axis=1)).all()
    assert (rows["least-surprised"]["text"] == rows["source-1"]["text"]).all()
    assert set(rows["mixture"]["text"].str.split().str[0]) == {"mixture"}
    assert {one["column"] for one in suite["results"]} == {"LC@stub-1", "WR@stub-1", "length"}
    assert {one["to"] for one in suite["differences"]} == {"SFT", "WRPO"}


def answers(evaluation: Step, workplace) -> pd.DataFrame:
    return read(evaluation, "answers.parquet", workplace)
