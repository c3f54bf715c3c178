"""SFT records and triples against a second, naive way of finding them; every dropped prompt under its reason."""

import random

import pandas as pd
import pytest

from infra.errors import BadInput
from tasks.pairs.rules import Best, Wrpo
from tasks.pairs.stage import Pairs, SftRecords, build_pairs, build_sft_records
from tasks.records import content_id, prompt_id
from tasks.stage import How

PROMPTS = 60
SOURCES = ("north", "south", "west")


class Files:
    """Stands for a Run over plain tables: hands out files, takes counts. The store has tests of its own."""

    def __init__(self, folder):
        self.root, self.folder, self.counts = folder, folder / "out", {}
        self.folder.mkdir()

    def file(self, manifest, name):
        return self.root / manifest / name

    def count(self, **numbers):
        self.counts.update(numbers)

    def put(self, manifest, name, table):
        (self.root / manifest).mkdir(exist_ok=True)
        table.to_parquet(self.root / manifest / name, index=False)
        return manifest


@pytest.fixture
def world(tmp_path):
    """Scores from a few values only, so that ties are everywhere; some responses missing, some the same words."""
    source, run = random.Random(5), Files(tmp_path)
    messages = [[{"role": "user", "content": f"question {number}"}] for number in range(PROMPTS)]
    ids = [prompt_id(turns) for turns in messages]
    prompts = run.put(
        "prompts",
        "prompts.parquet",
        pd.DataFrame({"prompt_id": ids, "messages": messages, "category": "", "gold": None}),
    )
    part = {prompt: source.choice(("sft", "preference", "preference", "held_out")) for prompt in ids}
    splits = run.put("splits", "splits.parquet", pd.DataFrame({"prompt_id": ids, "part": list(part.values())}))
    tables, (silent, stubborn) = {}, [prompt for prompt in ids if part[prompt] == "preference"][:2]
    for name in (*SOURCES, "own"):
        rows = [
            {
                "prompt_id": prompt,
                "sample_index": index,
                "text": source.choice(("yes", "no", f"{name} {index}")),
                "tokens": 3,
                "finish_reason": "stop",
            }
            for prompt in ids
            for index in range(4)
            if source.random() > 0.05 and not (name == "own" and prompt == silent)
        ]
        rows = [{**row, "text": "the same"} if name == "own" and row["prompt_id"] == stubborn else row for row in rows]
        table = pd.DataFrame(rows).sample(frac=1, random_state=1)
        table["content_id"] = [content_id(row.prompt_id, row.text) for row in table.itertuples()]
        scores = table[["content_id"]].drop_duplicates()
        scores["score"] = [hash_score(content) for content in scores["content_id"]]
        tables[name] = table.merge(scores, on="content_id")
        run.put(f"{name}-responses", "responses.parquet", table)
        run.put(f"{name}-scores", "scores.parquet", scores)
    return run, (prompts,), (splits,), part, tables


def hash_score(content: str) -> float:
    return int(content[:4], 16) % 4 / 4


def source_inputs():
    return {
        "responses": tuple(f"{name}-responses" for name in SOURCES),
        "scores": tuple(f"{name}-scores" for name in SOURCES),
    }


def naive_best(tables, names, prompt):
    """The written rule, spelled out: highest score, then the order of the sources, sample index, content id."""
    candidates = [
        (-row.score, place, row.sample_index, row.content_id, row.text, name)
        for place, name in enumerate(names)
        for row in tables[name].itertuples()
        if row.prompt_id == prompt
    ]
    return min(candidates) if candidates else None


def test_sft_records_are_the_best_source_responses(world):
    run, prompts, splits, part, tables = world
    build_sft_records.work(
        run,
        SftRecords(sources=SOURCES, rule=Best(kind="best")),
        How(),
        prompts=prompts,
        splits=splits,
        **source_inputs(),
    )
    found = pd.read_parquet(run.folder / "records.parquet").set_index("prompt_id")
    expected = {prompt: naive_best(tables, SOURCES, prompt) for prompt in part if part[prompt] == "sft"}
    assert {prompt: (row.response, row.source) for prompt, row in found.iterrows()} == {
        prompt: (best[4], best[5]) for prompt, best in expected.items() if best
    }


def test_triples_are_the_sources_best_and_the_own_best_and_worst(world):
    run, prompts, splits, part, tables = world
    build_pairs.work(
        run,
        Pairs(sources=SOURCES, rule=Wrpo(kind="wrpo")),
        How(),
        prompts=prompts,
        splits=splits,
        **source_inputs(),
        own_responses=("own-responses",),
        own_scores=("own-scores",),
    )
    found = pd.read_parquet(run.folder / "pairs.parquet").set_index("prompt_id")
    expected, dropped = {}, {"dropped_without_response": 0, "dropped_equal_responses": 0, "dropped_no_margin": 0}
    for prompt in (prompt for prompt in part if part[prompt] == "preference"):
        best = naive_best(tables, SOURCES, prompt)
        own = sorted(
            (-row.score, row.sample_index, row.content_id, row.text)
            for row in tables["own"].itertuples()
            if row.prompt_id == prompt
        )
        if best is None or not own:
            dropped["dropped_without_response"] += 1
        elif own[-1][3] in (own[0][3], best[4]):
            dropped["dropped_equal_responses"] += 1
        elif not own[0][0] < own[-1][0]:
            dropped["dropped_no_margin"] += 1
        else:
            expected[prompt] = (best[4], best[5], own[0][3], own[-1][3])
    assert {
        prompt: (row.source_best, row.source, row.own_best, row.own_worst) for prompt, row in found.iterrows()
    } == expected
    assert {name: run.counts[name] for name in dropped} == dropped and all(dropped.values())


def test_sft_and_preference_prompts_are_disjoint(world):
    run, prompts, splits, _, _ = world
    build_sft_records.work(
        run,
        SftRecords(sources=SOURCES, rule=Best(kind="best")),
        How(),
        prompts=prompts,
        splits=splits,
        **source_inputs(),
    )
    build_pairs.work(
        run,
        Pairs(sources=SOURCES, rule=Wrpo(kind="wrpo")),
        How(),
        prompts=prompts,
        splits=splits,
        **source_inputs(),
        own_responses=("own-responses",),
        own_scores=("own-scores",),
    )
    records, pairs = (
        set(pd.read_parquet(run.folder / name)["prompt_id"]) for name in ("records.parquet", "pairs.parquet")
    )
    assert records and pairs and not records & pairs


def test_a_margin_that_nothing_reaches_is_refused_with_the_counts(world):
    run, prompts, splits, _, _ = world
    with pytest.raises(BadInput, match=r"no prompt of the preference part.*dropped_no_margin"):
        build_pairs.work(
            run,
            Pairs(sources=SOURCES, rule=Wrpo(kind="wrpo", margin=5)),
            How(),
            prompts=prompts,
            splits=splits,
            **source_inputs(),
            own_responses=("own-responses",),
            own_scores=("own-scores",),
        )
