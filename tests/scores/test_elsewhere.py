"""Reward models that are no weights here: one at an endpoint, moody, and a program of the user's own, well or badly written."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import BadInput
from infra.settings import settings
from tasks.records import SCORE
from tasks.scores.endpoint_program import ask_scores
from tasks.scores.user_program import score_by_program
from tests.patience import STILL
from tests.stub_endpoint import moody, stub_endpoint

ROWS = [
    {
        "content_id": f"{n}",
        "messages": [{"role": "user", "content": f"what is {n}?"}],
        "text": "it is " * n,
        "gold": f"{n}" if n % 2 else None,
    }
    for n in range(12)
]
PROGRAM = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    assert row["messages"][-1]["content"] == row["prompt"]
    {body}
"""


def run(work, folder, rows=ROWS, **how):
    out = folder / "out"
    out.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    job = {
        "model": str(folder / "model"),
        "rows": str(folder / "rows.parquet"),
        "what": {},
        "how": {"batch_size": 5, "batches_per_part": 1, "timeout": STILL, **how},
        "threads": 1,
    }
    summary = work(job, out, lambda done, total: None)
    found = [row for part in sorted(out.glob("part-*")) for row in pq.read_table(part, schema=SCORE).to_pylist()]
    assert [row["content_id"] for row in found] == [row["content_id"] for row in rows[: len(found)]]
    return found, summary


def asked(folder, stub, path: str, **how):
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "served.json").write_text(json.dumps({"id": "a/reward"}))
    urls = {"a/reward": stub.url.removesuffix("/v1") + path}
    return run(ask_scores, folder, urls=urls, concurrency=4, attempts=6, first_wait=0.01, **how)


def length(body: dict) -> float:
    assert body["use_activation"] is False and body["add_generation_prompt"] is False and body["model"] == "a/reward"
    return len(body["messages"][-1]["content"]) / 7


def classified(stub, body: dict) -> dict:
    found = {"index": 0, "label": "LABEL_0", "probs": [length(body)], "num_classes": 1}
    return {"object": "list", "data": [found], "usage": {"prompt_tokens": 9, "total_tokens": 9}}


def pooled(stub, body: dict) -> dict:
    return {"object": "list", "data": [{"index": 0, "object": "pooling", "data": [length(body)]}]}


@pytest.mark.parametrize("shape", [classified, pooled])
def test_every_row_gets_its_score_from_a_flaky_endpoint(tmp_path, shape):
    with stub_endpoint(lambda body: {}, moody) as stub:
        stub.shaped = shape
        found, summary = asked(tmp_path, stub, "/classify")
    assert [row["score"] for row in found] == [len(row["text"]) / 7 for row in ROWS]
    assert {row["reason"] for row in found} == {None} and not any(row["truncated"] for row in found)
    assert summary["tokens_made"] == (9 * len(ROWS) if shape is classified else 0)
    assert sum(stub.seen.values()) > len(ROWS), "no attempt failed"
    assert set(stub.answered.values()) == {1}


def test_what_the_endpoint_refuses_has_no_score_and_says_why(tmp_path):
    with stub_endpoint(
        lambda body: {}, lambda request, attempt: "refused" if request[0] in "01234567" else "well"
    ) as stub:
        stub.shaped = classified
        found, _ = asked(tmp_path, stub, "/classify")
    lost = [row for row in found if row["score"] is None]
    assert 0 < len(lost) < len(ROWS) and {row["reason"] for row in lost} == {"refused: status 400: too long"}
    assert max(stub.seen.values()) == 1


def test_a_dead_endpoint_ends_the_program_and_keeps_scores(tmp_path):
    with stub_endpoint(lambda body: {}, lambda request, attempt: "well") as stub:
        stub.shaped = classified
        down = lambda request, attempt: "broken" if sum(stub.answered.values()) >= 5 else "well"
        stub.manner = down
        with pytest.raises(
            RuntimeError, match=r"no answer for content \d+: all 6 attempts failed; the last one: status 500"
        ):
            asked(tmp_path, stub, "/classify")
    assert len(list((tmp_path / "out").glob("part-*"))) == 1


def test_a_refused_key_and_an_unknown_endpoint_are_user_errors(tmp_path):
    locked = stub_endpoint(lambda body: {}, lambda request, attempt: "locked")
    with locked as stub, pytest.raises(BadInput, match="the server does not accept the key"):
        asked(tmp_path, stub, "/classify")
    (tmp_path / "out").rmdir()
    with pytest.raises(BadInput, match=r"how\.scoring\.urls: has no endpoint for 'a/reward'"):
        run(ask_scores, tmp_path, urls={})


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_served_score_that_is_no_number_names_its_row(tmp_path, number):
    with stub_endpoint(lambda body: {}) as stub:
        stub.shaped = lambda stub, body: {"data": [{"probs": [float(number) if "5?" in str(body) else 0.5]}]}
        with pytest.raises(BadInput, match="the score of content 5 is"):
            asked(tmp_path, stub, "/classify")


def test_the_key_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSE_REWARD_KEY", "sesame")
    settings.cache_clear()
    sent = []
    with stub_endpoint(lambda body: {}) as stub:
        stub.shaped = classified
        monkeypatch.setattr(
            "tasks.scores.endpoint_program.ask_all", lambda endpoint, bodies: sent.append(endpoint.key) or none()
        )
        with pytest.raises(KeyError):
            asked(tmp_path, stub, "/classify")
    assert sent == ["sesame"] and "sesame" not in str(settings())
    settings.cache_clear()


async def none():
    for nothing in ():
        yield nothing


def examined(folder, body: str, command=(sys.executable, "{program}"), **how):
    (folder / "model" / "program").mkdir(parents=True)
    (folder / "model" / "program" / "check.py").write_text(PROGRAM.format(body=body))
    (folder / "model" / "command.json").write_text(json.dumps(command))
    return run(score_by_program, folder, **how)


def test_a_program_scores_row_by_row_in_their_order(tmp_path):
    body = "print(json.dumps({'reason': 'no answer'} if row['answer'] is None else {'score': len(row['response'])}))"
    found, _ = examined(tmp_path, body)
    for row, mine in zip(ROWS, found, strict=True):
        wanted = (float(len(row["text"])), None) if row["gold"] else (None, "no answer")
        assert (mine["score"], mine["reason"]) == wanted


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print(0.5) if row['prompt'] != 'what is 3?' else None", "wrote 4 lines for 5 rows, the first of content 0"),
        ("print('NaN')", "the score of content 0 is NaN"),
        ("print('good')", "its answer for content 0 is not JSON: 'good'"),
        ("print('null')", "the score of content 0 is null"),
        ("print('true')", "the score of content 0 is true"),
        ("print('1' + 400 * '0')", "the score of content 0 is 1000"),
        ("print(json.dumps({'score': '0.5'}))", "the score of content 0 is"),
        ("print(100000 * '[')", "its answer for content 0 is not JSON"),
        ("raise SystemExit('I give up')", "ended with code 1: I give up"),
        ("__import__('time').sleep(1e6)", r"did not end within 0.5 s for 5 rows from content 0"),
    ],
)
def test_a_program_that_does_not_do_as_it_should_is_named_with_the_row(tmp_path, body, message):
    with pytest.raises(BadInput, match=message):
        examined(tmp_path, body, timeout=0.5 if "sleep" in body else STILL)


def test_a_command_that_does_not_start_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"\['/nowhere', '.*check\.py'\] cannot be started"):
        examined(tmp_path, "print(1)", ("/nowhere", "{program}"))
