"""The report's numbers against tables made by hand: shares with ties, rewards, examples, who judged, what it cost."""

import itertools
import json

import pandas as pd
import pytest

from infra.manifest import ArtifactReference
from tasks.records import PROMPT
from tasks.report import jury
from tasks.report.numbers import (
    add_estimates,
    bin_rewards,
    by_jurors,
    choose_examples,
    count_best_sources,
    describe_cost,
    describe_counts,
    describe_judge,
    list_upstream,
    read_prompt_texts,
    read_scored_responses,
    summarise_evaluation,
)
from tasks.stage import What, stage
from tests.infra.test_store import draft


@stage("report", version="1")
def report(run, what, how):
    pass


@pytest.fixture
def run(workplace):
    return workplace.run(report(what=What()))


def publish(run, stage: str, fingerprint: str, inputs: dict[str, list] = {}, **files: pd.DataFrame):  # noqa: B006
    """An artifact of tables, by hand."""
    folder = run.scratch / stage / fingerprint
    folder.mkdir(parents=True)
    for name, table in files.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    before = {
        name: [ArtifactReference(stage=m.stage, fingerprint=m.fingerprint) for m in made]
        for name, made in inputs.items()
    }
    return run.store.publish(folder, draft(fingerprint, stage=stage, label=f"{stage} · it", inputs=before))


def candidates(*rows: tuple[str, int, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["prompt_id", "sample_index", "score"])
    return table.assign(content_id=[f"{row.prompt_id}{row.sample_index}" for row in table.itertuples()])


WON = {
    # prompt p: north alone is best; q: both are, north comes first; r: both again; s: west alone answered;
    # t: north ties with itself only, which is no tie among sources
    "north": candidates(
        ("p", 0, 0.9), ("p", 1, 0.1), ("q", 0, 0.5), ("r", 0, 0.2), ("r", 1, 0.7), ("t", 0, 1.0), ("t", 1, 1.0)
    ),
    "west": candidates(("p", 0, 0.8), ("q", 0, 0.5), ("r", 0, 0.7), ("s", 0, -3.0), ("t", 0, 0.0)),
    "idle": candidates(("p", 0, -1.0)),
}


def test_a_share_counts_prompts_won_and_ties_go_to_the_first():
    north, west, idle = count_best_sources(WON)
    assert [one["source"] for one in (north, west, idle)] == ["north", "west", "idle"]
    assert [one["count"] for one in (north, west, idle)] == [4, 1, 0]
    assert [one["tied"] for one in (north, west, idle)] == [2, 0, 0]
    assert [one["share"] for one in (north, west, idle)] == [0.8, 0.2, 0.0]
    assert [one["responses"] for one in (north, west, idle)] == [7, 5, 1]
    assert north["mean_score"] == pytest.approx(4.4 / 7) and west["mean_score"] == pytest.approx(-0.2)


def test_every_jurors_scores_come_source_by_source_and_none_is_mixed_up(run):
    said = lambda *contents: pd.DataFrame(
        {"prompt_id": "p", "sample_index": range(len(contents)), "content_id": contents, "tokens": 1}
    )
    scores = lambda **of: pd.DataFrame({"content_id": of.keys(), "score": of.values(), "reason": None})
    responses = (
        publish(run, "sampling", "a1", responses=said("x", "y")),
        publish(run, "sampling", "a2", responses=said("z")),
    )
    made = [("b1", {"x": 1.0, "y": None}), ("b2", {"z": 2.0}), ("c1", {"x": 10.0, "y": 20.0}), ("c2", {"z": 30.0})]
    judged = tuple(publish(run, "rewards", name, scores=scores(**of)) for name, of in made)
    found = by_jurors(run, ("north", "west"), ("one", "two"), {"responses": responses, "jury": judged})
    rows = jury.join_scores(found).sort_values("content_id")
    assert rows["source"].tolist() == ["north", "north", "west"]
    assert rows["score one"].fillna(-1).tolist() == [1.0, -1.0, 2.0] and rows["score two"].tolist() == [
        10.0,
        20.0,
        30.0,
    ]
    assert by_jurors(run, ("north", "west"), (), {"responses": responses, "jury": ()}) == {}


def test_the_order_of_the_recipe_decides_ties_and_nothing_else():
    turned = {name: WON[name] for name in ("west", "idle", "north")}
    assert {one["source"]: (one["count"], one["tied"]) for one in count_best_sources(turned)} == {
        "north": (2, 0),
        "west": (3, 2),
        "idle": (0, 0),
    }


def test_the_same_words_have_one_score_whichever_source_said_them(run):
    said = lambda *contents: pd.DataFrame(
        {"prompt_id": "p", "sample_index": range(len(contents)), "content_id": contents, "text": "…", "tokens": 1}
    )
    scores = lambda **of: pd.DataFrame({"content_id": of.keys(), "score": of.values()})
    responses = (
        publish(run, "sampling", "a1", responses=said("x", "y", "x")),
        publish(run, "sampling", "a2", responses=said("x", "z")),
    )
    judged = (
        publish(run, "rewards", "b1", scores=scores(x=0.25, y=1.0)),
        publish(run, "rewards", "b2", scores=scores(x=0.26, z=2.0)),
    )
    found = read_scored_responses(run, ("north", "west"), responses, judged)
    assert list(found) == ["north", "west"]
    assert found["north"].sort_values("sample_index")["score"].tolist() == [0.25, 1.0, 0.25]
    assert found["west"].sort_values("sample_index")["score"].tolist() == [0.25, 2.0]


ANSWERS = pd.DataFrame(
    [
        ("q2", "4", "target", "5", False, 0.0),
        ("q1", None, "target", "blue", None, 1.0),
        ("q2", "4", "SFT", "4", True, 3.0),
        ("q1", None, "SFT", "red", None, 3.0),
        ("q2", "4", "north", "four", False, 2.0),
        ("q1", None, "north", "", None, 6.0),
    ],
    columns=["prompt_id", "gold", "model", "text", "correct", "score"],
).assign(check=[0.0, None, 1.0, None, None, None])


def test_rewards_are_told_per_model_over_the_same_edges():
    found = bin_rewards(ANSWERS, ("north",))
    edges = found["edges"]
    assert (len(edges), edges[0], edges[-1]) == (31, 0.0, 6.0)
    assert [(one["name"], one["role"], one["mean"]) for one in found["series"]] == [
        ("target", "target", 0.5),
        ("SFT", "sft", 3.0),
        ("north", "source", 4.0),
    ]
    bins = lambda *scores: [
        sum(low <= score < high or score == high == 6.0 for score in scores) for low, high in itertools.pairwise(edges)
    ]
    assert [one["counts"] for one in found["series"]] == [bins(0.0, 1.0), bins(3.0, 3.0), bins(2.0, 6.0)]


def test_examples_are_the_first_prompts_by_id_with_every_models_answer(tmp_path):
    ANSWERS.to_parquet(tmp_path / "answers.parquet", index=False)
    found = choose_examples(
        pd.read_parquet(tmp_path / "answers.parquet"), {"q1": "a colour?", "q2": "2 + 2?", "q3": "?"}
    )
    json.dumps(found, allow_nan=False)
    said = lambda *answers: [{"model": model, "text": words, "correct": right} for model, words, right in answers]
    assert found == [
        {
            "prompt": "a colour?",
            "gold": None,
            "answers": said(("target", "blue", None), ("SFT", "red", None), ("north", "", None)),
        },
        {
            "prompt": "2 + 2?",
            "gold": "4",
            "answers": said(("target", "5", False), ("SFT", "4", True), ("north", "four", None)),
        },
    ]


def test_examples_are_a_dozen_at_most():
    many = pd.concat([ANSWERS.assign(prompt_id=ANSWERS["prompt_id"] + f"{n:02}") for n in range(10)])
    found = choose_examples(many, {prompt: prompt for prompt in many["prompt_id"]})
    assert [one["prompt"] for one in found] == sorted(set(many["prompt_id"]))[:12]


def test_a_prompt_is_told_with_all_its_turns(run):
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "why?"}]
    rows = pd.DataFrame(
        {"prompt_id": ["p"], "messages": [turns], "category": [""], "gold": [None], "part": [None], "response": [None]}
    )
    assert list(rows) == PROMPT.names
    assert read_prompt_texts(run, publish(run, "prompts", "a1", prompts=rows)) == {"p": "Be kind.\nwhy?"}


def test_a_judge_that_chose_the_data_is_called_so():
    reward, other = (draft(name, stage="model", label=f"model · {name}") for name in ("aa11", "bb22"))
    same = describe_judge(reward, reward.model_copy(update={"label": "model · another name for it"}))
    assert same.startswith("the reward model that also chose the training data") and "not independent" in same
    assert describe_judge(other, reward) == "bb22 bb22, not the reward model that chose the data"


def test_upstream_artifacts_come_once_with_inputs_first(run):
    prompts = publish(run, "prompts", "a1")
    swept = publish(run, "responses", "b1", {"prompts": [prompts]})
    kept = publish(run, "responses", "b2", {"prompts": [prompts]})
    pairs = publish(run, "pairs", "c1", {"responses": [swept, kept], "prompts": [prompts]})
    addresses = lambda: [
        f"{m.stage}/{m.fingerprint}" for m in list_upstream(run, {"pairs": (pairs,), "prompts": (prompts,)})
    ]
    assert addresses() == ["prompts/a1", "responses/b1", "responses/b2", "pairs/c1"]
    run.store.blobs.delete("responses/b1/MANIFEST.json")
    assert addresses() == ["prompts/a1", "responses/b2", "pairs/c1"]
    run.store.blobs.delete("prompts/a1/MANIFEST.json")
    assert addresses() == ["responses/b2", "pairs/c1", "prompts/a1"]  # what was handed in is here all the same


def test_counts_are_the_whole_numbers_and_costs_the_programs_own_seconds():
    made = draft(counts={"rows": 3, "mean": 0.5, "tokens": 40, "kind": "text", "rows_made": 0, "program_seconds": 7.5})
    assert [(one["what"], one["value"]) for one in describe_counts(made)] == [
        ("rows", 3),
        ("tokens", 40),
        ("rows made", 0),
    ]
    address = f"{made.stage}/{made.fingerprint}"
    costs = [describe_cost(made), describe_cost(draft(counts={}))]
    assert costs == [
        {"address": address, "label": "a label", "rows": 3, "tokens": 40, "seconds": 7.5},
        {"address": address, "label": "a label", "rows": None, "tokens": None, "seconds": 1.5},
    ]
    add_estimates(costs[:1], {address: {"p50": 5.0, "p90": 8.0}})
    assert costs[0]["estimate"] == {"p50": 5.0, "p90": 8.0}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.2, "+10.0 points"), (-0.01, 0.2, "within noise"), (0.0, 0.2, "within noise")],
)
def test_the_summary_claims_only_intervals_that_exclude_zero(low, high, said):
    change = {"from": "SFT", "to": "WRPO", "metric": "win_rate", "value": 0.1, "low": low, "high": high}
    assert summarise_evaluation({"differences": [change], "no_accuracy": None}) == f"SFT to WRPO, win rate: {said}."
    alone = summarise_evaluation({"differences": [change], "no_accuracy": "no prompt has a gold"})
    assert alone == f"SFT to WRPO, win rate: {said}; no accuracy: no prompt has a gold."
