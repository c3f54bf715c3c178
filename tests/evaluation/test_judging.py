"""A judge at an endpoint that is busy, broken, talks nonsense or is silent: every game is judged or marked, none paid twice."""

import asyncio
import json
import os
import resource
import signal
import string
import subprocess
import sys
import threading
import time

import aiohttp
import pandas as pd
import pytest
from tokenizers import Tokenizer, models

from infra.errors import BadInput, ProgramFailed
from tasks.endpoint.client import EndpointClient, ask_all, read_reply
from tasks.evaluation.judged import journal
from tasks.evaluation.judged import judge_program as judge
from tasks.evaluation.judged import replies as heard
from tasks.evaluation.judged.judgements import Judging, JudgingHow, judge_answers
from tasks.evaluation.judged.questions import PublishedSuite, continue_dialogue, open_suite
from tasks.records import RESPONSE
from tasks.rows.parts import write_part
from tasks.rows.pool import write_table
from tasks.stage import What, stage
from tests.evaluation.made import folder_of, reply
from tests.patience import STILL
from tests.stub_endpoint import moody, stub_endpoint


class Words(What):
    words: str
    but: str = ""
    silent: int = 0


@stage("saying", version="1")
def say(run, what, how, prompts):
    """A model that answers every prompt in the same manner, but one prompt of the suite with `but`."""
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"))
    rows = asked.assign(text=[what.words.format(turns[-1]["content"]) for turns in asked["messages"]], sample_index=0)
    if what.but:
        rows.loc[rows.index[0], "text"] = what.but
    rows = rows.iloc[what.silent :]
    write_table(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")


def judging(workplace, suite: str, url: str, questions: int = 20, words: str = "To {} I say so.", **how):
    spoilt = {name: how.pop(name) for name in ("but", "silent") if name in how}
    folder = workplace.folder / suite
    if not folder.exists():
        folder_of(suite, folder, questions)
    opened = open_suite(**PublishedSuite(suite=suite, path=str(folder)).resolve("suite"))
    first = say(prompts=opened, what=Words(words=words, **spoilt))
    said = [first]
    if suite == "mt-bench":
        said.append(
            say(
                prompts=continue_dialogue(suite=opened, responses=first, what=What()),
                what=Words(words=words, **spoilt),
            )
        )
    what = Judging(suite=suite, model="stub-1", unanswered=how.pop("unanswered", 0.01))
    return judge_answers(
        suite=opened,
        responses=said,
        what=what,
        how=JudgingHow(**{"url": url, "first_wait": 0.0, "concurrency": 8} | how),
    )


def says(suite: str):
    return lambda body: reply(suite, 0.7, "as is")


GAMES = {"alpaca-eval": 20, "mt-bench": 40}


@pytest.mark.parametrize("suite", GAMES)
def test_every_game_is_judged_once_by_a_moody_endpoint(workplace, suite):
    with stub_endpoint(says(suite), moody) as stub:
        judged = workplace.table(judging(workplace, suite, stub.url), "judgements.parquet")
    assert len(judged) == GAMES[suite] and set(judged["status"]) == {"judged"}
    assert set(stub.answered.values()) == {1} and len(stub.answered) == GAMES[suite]
    assert stub.seen.total() > 1.2 * GAMES[suite]  # it was moody indeed
    assert json.loads(judged["reply"].iloc[0])["content"] == reply(suite, 0.7, "as is")["content"]  # raw, as it came


def test_a_request_without_reply_is_marked_and_many_are_a_failure(workplace):
    refuses = lambda request, attempt: "refused" if request[0] in "01" else "well"
    with stub_endpoint(says("arena-hard"), refuses) as stub:
        step = judging(workplace, "arena-hard", stub.url, unanswered=0.5)
        judged = workplace.table(step, "judgements.parquet").set_index("status")
        marked = judged.loc[["unanswered"]]
        assert 0 < len(marked) < 20 and marked["reply"].isna().all() and "400" in marked["why"].iloc[0]
        with pytest.raises(ProgramFailed, match=r"games .* got no reply; reason of the first: status 400"):
            workplace.made(judging(workplace, "arena-hard", stub.url, unanswered=0.0))
    assert set(stub.answered.values()) == {1}  # the second step found what the first had paid for


def test_a_degenerate_answer_is_never_shown_to_the_judge(workplace):
    with stub_endpoint(says("alpaca-eval")) as stub:
        judged = workplace.table(judging(workplace, "alpaca-eval", stub.url, but=""), "judgements.parquet")
        assert set(judged["status"]) == {"judged"}
        constant = workplace.table(judging(workplace, "alpaca-eval", stub.url, words="I win."), "judgements.parquet")
        one = workplace.table(judging(workplace, "alpaca-eval", stub.url, but="<|im_end|>"), "judgements.parquet")
    assert set(constant["status"]) == {"flagged"} and set(constant["why"]) == {"constant"}
    assert one["status"].value_counts().to_dict() == {"judged": 19, "flagged": 1}
    assert stub.answered.total() == 20


def test_what_a_model_has_no_answer_to_is_lost_unasked(workplace):
    """Its prompt is too long for the model, or its first answer too long for a second turn."""
    with stub_endpoint(says("mt-bench")) as stub:
        judged = workplace.table(judging(workplace, "mt-bench", stub.url, silent=3), "judgements.parquet")
    lost = judged[judged["status"] == "flagged"]
    assert len(judged) == 40 and set(lost["why"]) == {"empty"} and 3 <= lost["question_id"].nunique() <= 6
    assert stub.answered.total() == 40 - len(lost)


def test_where_all_answers_are_degenerate_nobody_is_asked_at_all(workplace):
    with stub_endpoint(says("arena-hard")) as stub:
        judged = workplace.table(judging(workplace, "arena-hard", stub.url, words="I win."), "judgements.parquet")
    assert set(judged["status"]) == {"flagged"} and stub.seen.total() == 0


ODD = (
    {"choices": [{"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": [{"token": "m"}]}]}}]},
    {"choices": [{"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": [{"token": "m", "logprob": None}]}]}}]},
    {"choices": [{"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": [{"token": "m", "logprob": 1e9}]}]}}]},
    {"choices": [{"message": {"content": "m"}, "logprobs": "none"}]},
    {"choices": [{"message": {"content": "m"}}], "usage": {"prompt_tokens": None, "completion_tokens": "many"}},
    {"choices": [{"text": "m"}], "usage": []},
    {"choices": [{"message": {"content": "m"}, "logprobs": {"content": [{"top_logprobs": None}]}}]},
)  # fmt: skip


@pytest.mark.parametrize("place", range(len(ODD)))
def test_a_reply_of_another_form_is_read_whole_or_is_none(place):
    found = read_reply(json.dumps(ODD[place]), judge.is_readable_reply)
    assert bool(found) == (place >= 4)
    if found:
        row = judge.make_reply_row("r", found)
        assert (json.loads(row["reply"])["content"], row["prompt_tokens"], row["completion_tokens"]) == ("m", 0, 0)


def test_half_a_character_in_a_reply_ends_nothing(tmp_path):
    row = judge.make_reply_row("r", {"choices": [{"message": {"content": "good \ud83d"}}], "usage": {}})
    write_part([row], heard.REPLY, tmp_path / "part.parquet")
    (kept,) = pd.read_parquet(tmp_path / "part.parquet")["reply"]
    assert json.loads(kept)["content"] == "good ?"


def test_a_reply_that_cannot_be_read_is_asked_for_again(workplace):
    with stub_endpoint(says("alpaca-eval")) as stub:
        heard: set[str] = set()

        def odd_at_first(stub, body):
            said = json.dumps(body)
            return stub.reply(body) if said in heard else (heard.add(said), ODD[2])[1]

        stub.shaped = odd_at_first
        judged = workplace.table(judging(workplace, "alpaca-eval", stub.url, questions=4), "judgements.parquet")
    assert set(judged["status"]) == {"judged"} and stub.seen.total() == 8


def test_replay_makes_no_call_and_fails_on_a_gap(workplace):
    with stub_endpoint(says("arena-hard")) as stub:
        workplace.made(judging(workplace, "arena-hard", stub.url, unanswered=0.1))
        calls = stub.seen.total()
        workplace.made(judging(workplace, "arena-hard", stub.url, unanswered=0.2, replay=True))
        with pytest.raises(BadInput, match="40 of 40 judgements are not stored"):
            workplace.made(judging(workplace, "arena-hard", stub.url, words="Anew: {}", replay=True))
    assert stub.seen.total() == calls == 40


def counting(folder) -> str:
    """A tokenizer of single characters, as the stub counts."""
    letters = {token: place for place, token in enumerate(["<unk>", *string.printable])}
    Tokenizer(models.BPE(vocab=letters, merges=[], unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def test_the_projected_cost_is_within_two_percent_and_limited(workplace):
    prices = {"price_in": 10.0, "price_out": 30.0, "tokenizer": counting(workplace.folder)}
    with stub_endpoint(says("alpaca-eval")) as stub:
        with pytest.raises(BadInput, match=r"20 requests .* would cost about \$.*, but the limit is \$0.00"):
            workplace.made(judging(workplace, "alpaca-eval", stub.url, limit=0.001, **prices))
        assert stub.seen.total() == 0
        counts = workplace.made(judging(workplace, "alpaca-eval", stub.url, **prices)).counts
    assert counts["prompt_tokens"] == stub.tokens
    assert counts["projected_prompt_tokens"] == pytest.approx(counts["prompt_tokens"], rel=0.02)
    assert counts["projected_dollars"] == pytest.approx(counts["dollars"], rel=0.02)


def test_what_is_spent_stops_at_the_limit_whatever_was_projected(workplace):
    chatty = lambda body: {"content": "x"}
    prices = {"price_in": 10.0, "tokenizer": counting(workplace.folder)}
    with stub_endpoint(chatty) as stub:
        stub.reply = lambda body: {
            "choices": [{"message": {"content": "[[A=B]]"}}],
            "usage": {"prompt_tokens": 100_000, "completion_tokens": 0},
        }
        with pytest.raises(BadInput, match=r"are spent, the limit is \$3.00; all replies so far are kept"):
            workplace.made(judging(workplace, "arena-hard", stub.url, limit=3.0, concurrency=1, **prices))
    assert 3 <= stub.answered.total() <= 6


def test_what_is_under_way_when_the_limit_is_spent_is_kept_too(workplace):
    dear = {"choices": [{"message": {"content": "[[A=B]]"}}], "usage": {"prompt_tokens": 100_000}}
    prices = {"price_in": 10.0, "tokenizer": counting(workplace.folder)}
    with stub_endpoint(says("arena-hard")) as stub:
        stub.shaped = lambda stub, body: dear
        with pytest.raises(BadInput, match="are spent"):
            workplace.made(judging(workplace, "arena-hard", stub.url, limit=3.0, concurrency=8, **prices))
        paid = stub.answered.total()
        workplace.made(judging(workplace, "arena-hard", stub.url))
    assert 3 < paid < 40 and len(stub.answered) == 40 and set(stub.answered.values()) == {1}  # none of them twice


def test_an_endpoint_that_does_not_count_cannot_be_held_to_a_limit(workplace):
    prices = {"price_in": 10.0, "tokenizer": counting(workplace.folder)}
    with stub_endpoint(says("alpaca-eval")) as stub:
        stub.shaped = lambda stub, body: stub.reply(body) | {"usage": None}
        with pytest.raises(BadInput, match=r"does not return token counts, so how\.limit cannot"):
            workplace.made(judging(workplace, "alpaca-eval", stub.url, concurrency=1, **prices))
        assert stub.answered.total() <= 4
        workplace.made(judging(workplace, "alpaca-eval", stub.url))
    assert set(stub.answered.values()) == {1}  # they were kept


def test_a_price_needs_a_tokenizer_and_a_wrong_key_ends_everything_at_once(workplace):
    with stub_endpoint(says("alpaca-eval"), lambda request, attempt: "locked") as stub:
        with pytest.raises(BadInput, match=r"how\.tokenizer"):
            workplace.made(judging(workplace, "alpaca-eval", stub.url, price_in=1.0))
        with pytest.raises(BadInput, match="the server does not accept the key"):
            workplace.made(judging(workplace, "alpaca-eval", stub.url))
    assert stub.seen.total() <= 8


def test_a_kill_costs_no_more_than_the_requests_in_flight(tmp_path):
    rows = [
        {"request": f"r{n}", "body": json.dumps({"model": "m", "messages": [{"content": f"{n}"}]})} for n in range(300)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    how = JudgingHow(concurrency=4, first_wait=0.0).model_dump(mode="json")
    with stub_endpoint(lambda body: (time.sleep(0.01), {"content": "fine"})[1], moody) as stub:
        job = {"rows": str(tmp_path / "rows.parquet"), "journal": str(tmp_path / "journal.jsonl"), "reply_tokens": 1}
        (tmp_path / "job.json").write_text(json.dumps({**job, "how": how | {"url": stub.url}}))
        command = [
            sys.executable,
            "-m",
            "tasks.evaluation.judged.judge_program",
            str(tmp_path / "job.json"),
            str(tmp_path / "out"),
        ]
        killed = subprocess.Popen(command)
        while stub.answered.total() < 60:
            assert killed.poll() is None
            time.sleep(0.01)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        paid = len(journal.read_journal(tmp_path / "journal.jsonl"))
        with (tmp_path / "journal.jsonl").open("a") as torn:
            torn.write('{"request": "r2')
        assert 50 < paid < 300
        subprocess.run(command, check=True)
    twice = sum(count - 1 for count in stub.answered.values())
    assert twice <= 4 and len(stub.answered) == 300
    assert len(journal.read_journal(tmp_path / "journal.jsonl")) == 300
    parts = pd.concat(pd.read_parquet(part) for part in (tmp_path / "out").glob("part-*.parquet"))
    assert sorted(set(parts["request"])) == sorted(row["request"] for row in rows)


def test_a_reply_that_has_changed_since_it_was_written_is_asked_for_again(tmp_path):
    rows = [{"request": f"r{number}", "reply": "fine \u2028\ud800", "prompt_tokens": 1} for number in range(3)]
    with journal.ReplyJournal(tmp_path / "journal.jsonl") as written:
        for row in rows:
            written.append(row)
    assert list(journal.read_journal(tmp_path / "journal.jsonl")) == ["r0", "r1", "r2"]
    whole = (tmp_path / "journal.jsonl").read_bytes()
    for place in range(len(whole)):
        changed = bytes([whole[place] ^ 1])
        (tmp_path / "journal.jsonl").write_bytes(whole[:place] + changed + whole[place + 1 :])
        assert len(found := journal.read_journal(tmp_path / "journal.jsonl")) in (1, 2)
        assert all(row["reply"].startswith("fine ") for row in found.values())
    (tmp_path / "journal.jsonl").write_bytes(b"7\n[]\n{}\n\xff\n" + whole)
    assert len(journal.read_journal(tmp_path / "journal.jsonl")) == 3


def test_a_journal_that_is_full_says_so_and_loses_no_line_but_the_last(tmp_path):
    line = {"request": "r0", "reply": "x" * 100}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with journal.ReplyJournal(tmp_path / "journal.jsonl") as written:
        written.append(line)
        full = (tmp_path / "journal.jsonl").stat().st_size + 30
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, before[1]))
        try:
            with pytest.raises(OSError, match="could not be written completely"):
                written.append(line | {"request": "r1"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with journal.ReplyJournal(tmp_path / "journal.jsonl") as written:
        written.append(line | {"request": "r2"})
    assert list(journal.read_journal(tmp_path / "journal.jsonl")) == ["r0", "r2"]


def test_a_request_costs_little_more_than_one_of_a_bare_client():
    """In processor time, the endpoint's included, as it lives in this process."""
    bodies = [(str(n), {"model": "m", "messages": [{"role": "user", "content": f"{n} " * 400}]}) for n in range(600)]

    async def bare(url):
        async with aiohttp.ClientSession() as session:
            for name, body in bodies:
                async with session.post(f"{url}/chat/completions", json=body | {"seed": name}) as answer:
                    await answer.json(content_type=None)

    with stub_endpoint(lambda body: {"content": "m"}) as stub:
        started = time.process_time()
        heard = asyncio.run(names_of(stub.url, bodies))
        ours = time.process_time() - started
        asyncio.run(bare(stub.url))
        plain = time.process_time() - started - ours
    print(f"{len(heard) / ours:.0f} requests per second of CPU, a bare client {len(heard) / plain:.0f}")
    assert sorted(heard) == sorted(name for name, _ in bodies) and ours < 3 * plain


async def names_of(url: str, bodies: list[tuple[str, dict]]) -> list[str]:
    return [name async for name, _ in ask_all(EndpointClient(url), bodies)]


def test_requests_are_on_their_way_together():
    """The endpoint answers none before it has heard eight."""
    bodies, eight = [(str(n), {"model": "m", "messages": []}) for n in range(64)], threading.Barrier(8)
    with stub_endpoint(lambda body: {"content": f"m{eight.wait(STILL)}"}) as stub:
        assert len(asyncio.run(names_of(stub.url, bodies))) == 64
