"""Collective baselines: pairs before a judge, counted as plain loops count them; a mixture that reads what the members said."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest

from infra.errors import BadInput, ProgramFailed
from tasks.evaluation.collectives.choosing import CollectiveChoice, PerplexityHow, choose_answers, measure_surprise
from tasks.evaluation.collectives.mixture import (
    AGGREGATE_INSTRUCTION,
    add_answers_to_system,
    adopt_answers,
    put_together,
)
from tasks.evaluation.collectives.pairwise import Comparing, compare_answers, compute_copeland_scores, read_points
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.models.stage import ModelFolder, obtain_model
from tasks.records import PROMPT, RESPONSE, content_id, prompt_id
from tasks.responses.engines import Transformers
from tasks.responses.settings import Sampling
from tasks.responses.stage import sample_responses
from tasks.rows.pool import write_table
from tasks.stage import What, stage
from tests import tiny
from tests.stub_endpoint import moody, stub_endpoint

ASKED = [[{"role": "user", "content": f"How many are {n}?"}] for n in range(6)]
IDS = [prompt_id(turns) for turns in ASKED]


class Said(What):
    texts: tuple[str, ...]


@stage("asked", version="1")
def ask(run, what, how):
    rows = pd.DataFrame({"prompt_id": IDS, "messages": ASKED}).reindex(columns=PROMPT.names)
    write_table(run, rows, PROMPT, "prompts.parquet")


@stage("said", version="1")
def say(run, what, how, prompts):
    """A model's answers, in the order of the prompts that it is asked."""
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))["prompt_id"]
    rows = pd.DataFrame({"prompt_id": asked, "text": what.texts, "sample_index": 0, "tokens": 1})
    rows["content_id"] = [content_id(*pair) for pair in zip(rows["prompt_id"], rows["text"], strict=True)]
    write_table(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


def likes_numbers(body: dict) -> dict:
    """A judge who finds the answer with the higher number better, whichever stands first."""
    shown = body["messages"][0]["content"]
    first, second = (int(number) for number in re.findall(r"I say (\d+)", shown))
    return {"content": "[[A]]" if first > second else "[[B]]" if second > first else "[[C]]"}


def likes_the_first(body: dict) -> dict:
    return {"content": "Well, [[A]]"}


def compared(url: str, *texts: tuple[str, ...], unanswered: float = 0.01, **how):
    prompts = ask(what=What())
    said = [say(prompts=prompts, what=Said(texts=one)) for one in texts]
    what = Comparing(members=tuple("xyz"[: len(said)]), model="stub-1", unanswered=unanswered)
    at = JudgingHow(**{"url": url, "first_wait": 0.0} | how)
    games = compare_answers(prompts=prompts, responses=said, what=what, how=at)
    return games, choose_answers(responses=said, comparisons=games, what=CollectiveChoice(members=what.members))


THREE = tuple(tuple(f"I say {(place * factor) % 7}." for place in range(6)) for factor in (1, 2, 4))


def test_the_answer_that_wins_most_pairs_in_both_orders_is_taken(workplace):
    with stub_endpoint(likes_numbers, moody) as stub:
        games, best = compared(stub.url, *THREE)
        chosen = workplace.table(best, "responses.parquet").set_index("prompt_id")["text"]
    highest = {
        name: max(texts, key=lambda said: int(said[6]))
        for name, texts in zip(IDS, zip(*THREE, strict=True), strict=True)
    }
    assert chosen.to_dict() == highest
    table = workplace.table(games, "comparisons.parquet")
    assert len(table) == 6 * 3 * 2 and set(stub.answered.values()) == {1}
    assert len(stub.answered) == table["request"].notna().sum() == 5 * 3 * 2  # to the first prompt all say the same


def test_a_judge_that_goes_by_the_position_decides_nothing(workplace):
    with stub_endpoint(likes_the_first) as stub:
        games, best = compared(stub.url, *THREE)
        assert workplace.table(best, "responses.parquet")["text"].tolist() == [
            THREE[0][IDS.index(name)] for name in sorted(IDS)
        ]
        counts = workplace.made(games).counts
    assert counts["for_the_first"] == counts["decided"] == counts["asked"] > 0 == counts["unreadable"]


def test_labels_that_a_judge_does_not_give_are_counted(workplace):
    with stub_endpoint(lambda body: {"content": "The first, I think."}) as stub:
        games, _ = compared(stub.url, *THREE)
        counts = workplace.made(games).counts
    assert (counts["unreadable"], counts["decided"]) == (counts["asked"], 0)


def test_a_degenerate_answer_loses_and_nobody_is_paid_for_it(workplace):
    texts = tuple(f"I say {place}." for place in range(6))
    with stub_endpoint(likes_numbers) as stub:
        _, best = compared(stub.url, ("I win.",) * 6, texts)
        assert set(workplace.table(best, "responses.parquet")["text"]) == set(texts)
    assert not stub.seen


def test_pairs_without_reply_fail_and_a_replay_makes_no_call(workplace):
    with stub_endpoint(likes_numbers, lambda request, attempt: "refused") as stub:
        with pytest.raises(ProgramFailed, match=r"30 of 36 games .* got no reply; reason of the first: status 400"):
            workplace.made(compared(stub.url, *THREE)[0])
        asked = stub.seen.total()
        with pytest.raises(BadInput, match="not stored, and replay makes no requests"):
            workplace.made(compared(stub.url, *THREE, replay=True)[0])
        assert stub.seen.total() == asked


def test_pairs_are_counted_as_plain_loops_count_them():
    draw = np.random.default_rng(3)
    for members in (2, 3, 5):
        rows, expected = [], {}
        for prompt in ("p", "q", "r"):
            won = [0.0] * members
            for low, high in itertools.combinations(range(members), 2):
                said = draw.choice(["A", "B", "C", "?"], 2)  # of the game as is, and of the turned one
                for (first, second), label in zip(((low, high), (high, low)), said, strict=True):
                    rows.append({"prompt_id": prompt, "first": first, "second": second, "points": None, "request": "r",
                                 "reply": json.dumps({"content": f"[[{label}]]"})})  # fmt: skip
                of_low = [{"A": 1, "B": 0, "C": 0.5}[said[0]]] if said[0] != "?" else []
                of_low += [{"A": 0, "B": 1, "C": 0.5}[said[1]]] if said[1] != "?" else []
                mean = sum(of_low) / len(of_low) if of_low else 0.5
                won[low] += 1 if mean > 0.5 else 0.5 if mean == 0.5 else 0
                won[high] += 1 if mean < 0.5 else 0.5 if mean == 0.5 else 0
            expected |= {(prompt, place): score for place, score in enumerate(won)}
        games = pd.DataFrame(rows).sample(frac=1, random_state=1)
        assert compute_copeland_scores(games).set_index(["prompt_id", "place"])["score"].to_dict() == expected


def test_a_reply_with_two_labels_or_none_is_no_verdict():
    read = lambda text: read_points(json.dumps({"content": text}))
    assert [read("[[A]]"), read("so [[C]]"), read("[[A]] or [[B]]"), read("A"), read_points(None)] == [
        1.0,
        0.5,
        None,
        None,
        None,
    ]


def test_a_mixture_reads_all_answers_and_stands_under_its_prompt(workplace):
    prompts = ask(what=What())
    said = [say(prompts=prompts, what=Said(texts=texts)) for texts in THREE[:2]]
    read = put_together(prompts=prompts, responses=said, what=What())
    shown = workplace.table(read, "prompts.parquet").set_index("prompt_id")["messages"]
    new = say(prompts=read, what=Said(texts=tuple(f"To {turns[-1]['content']}" for turns in shown)))
    answers = workplace.table(adopt_answers(asked=read, responses=new, what=What()), "responses.parquet")
    assert dict(zip(answers["prompt_id"], answers["text"], strict=True)) == {
        name: f"To How many are {place}?" for place, name in enumerate(IDS)
    }
    assert answers["content_id"].tolist() == [content_id(row.prompt_id, row.text) for row in answers.itertuples()]
    first = next(turns for turns in shown if turns[-1]["content"] == "How many are 3?")
    assert [turn["role"] for turn in first] == ["system", "user"]
    assert first[0]["content"] == f"{AGGREGATE_INSTRUCTION}\n1. I say 3.\n2. I say 6."


def test_what_the_system_said_before_stays_before_the_answers():
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert add_answers_to_system(turns, ["So."]) == [
        {"role": "system", "content": f"Be brief.\n\n{AGGREGATE_INSTRUCTION}\n1. So."},
        turns[1],
    ]


@stage("halves", version="1")
def halve(run, what, how):
    """The first three prompts are held out."""
    parts = ["held_out"] * 3 + ["sft"] * 3
    pd.DataFrame({"prompt_id": IDS, "part": parts}).to_parquet(run.folder / "splits.parquet", index=False)


def test_a_model_reads_joined_answers_and_measures_held_out_prompts(workplace):
    folder, reader = workplace.folder / "reader", tiny.llama()
    reader.config.max_position_embeddings = 4096
    tiny.save(reader, folder)
    model = obtain_model(**ModelFolder(kind="folder", path=str(folder)).resolve("model"))
    prompts = ask(what=What())
    said = [say(prompts=prompts, what=Said(texts=texts)) for texts in THREE[:2]]
    read = put_together(prompts=prompts, responses=said, what=What())
    sampling = Sampling(n=1, temperature=0.0, max_new_tokens=4, seed=1)
    new = sample_responses(prompts=read, model=model, what=sampling, how=Transformers())
    answers = workplace.table(adopt_answers(asked=read, responses=new, what=What()), "responses.parquet")
    assert sorted(answers["prompt_id"]) == sorted(IDS) and answers["prompt_tokens"].min() > len(
        AGGREGATE_INSTRUCTION
    )  # a token per letter
    asked = {"prompts": prompts, "splits": halve(what=What()), "model": model}
    nats = workplace.table(measure_surprise(**asked, what=What(), how=PerplexityHow()), "perplexity.parquet")
    assert sorted(nats["prompt_id"]) == sorted(IDS[:3]) and nats["nats"].gt(0).all()
