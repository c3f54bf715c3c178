"""The endpoint engine: whatever a server does, every row is answered once, refused with a reason, or the source has failed."""

import json
import shutil
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from flows.config.loading import load_recipe
from infra.errors import BadInput, ProgramFailed, SourceFailed
from infra.settings import settings
from tasks.responses.engines import EndpointEngine
from tasks.tokens import prompt_ids
from tests.responses import steps
from tests.responses.steps import QUESTIONS, ids, model
from tests.responses.stub import Stub, serving


def engine(stub: Stub, **fields) -> EndpointEngine:
    return EndpointEngine(
        kind="endpoint", model="m", **{"urls": (stub.url,), "part_seconds": 0, "restarts": 0, **fields}
    )


def sampled(engine: EndpointEngine, **fields):
    return steps.sampled(engine, made_by=model(kind="served"), **fields)


def answer(status: int, text: str = "no", **headers: str):
    return web.Response(status=status, text=text, headers=headers)


def moody(body: dict, before: int):
    """Busy, broken, reset, nonsense, withheld half-way: on the first attempts, not on the last."""
    faults = [answer(429), answer(500), answer(200, ""), answer(200, "{oh"), answer(503), None]
    return faults[(body["seed"] + before) % len(faults)] if before < 3 else None


def test_every_row_is_answered_once_by_a_server_of_all_moods(workplace):
    with serving(Stub(manner=moody)) as stub:
        step = sampled(engine(stub, concurrency=4), n=3)
        table, counts = workplace.table(step, "responses.parquet"), workplace.made(step).counts
    assert len(table) == counts["answers"] == 3 * len(QUESTIONS) == stub.answered
    assert counts["retries"] == len(stub.asked) - stub.answered > 0
    assert sorted(zip(table["prompt_id"], table["sample_index"], strict=True)) == [
        (prompt, index) for prompt in sorted(ids(QUESTIONS).values()) for index in range(3)
    ]
    text_of = {prompt: text for text, prompt in ids(QUESTIONS).items()}
    assert [f"{text_of[row.prompt_id]} {row.seed}" for row in table.itertuples()] == table["text"].tolist()
    assert set(table["engine"]) == {"endpoint m"} and set(table["finish_reason"]) == {"stop"}


def test_a_server_that_asks_for_a_pause_gets_it_from_all_requests(workplace):
    paused, early = [], []

    def manner(body, before):
        if not paused:
            paused.append(time.monotonic() + 1.0)
            return answer(429, **{"Retry-After": "1"})
        if len(paused) == 1 and stub.answered >= 3 and time.monotonic() < paused[0]:
            early.append(body)
        return None

    with serving(Stub(manner=manner)) as stub:
        workplace.made(sampled(engine(stub, concurrency=2)))
    assert len(early) <= 1  # what was under way when the server said so


def test_a_refused_prompt_is_a_row_and_is_not_asked_again(workplace):
    def manner(body, before):
        said = body["messages"][-1]["content"]
        return answer(400, '{"error": "maximum context length exceeded"}') if said == "why" else None

    with serving(Stub(manner=manner)) as stub:
        step = sampled(engine(stub))
        assert workplace.made(step).counts["refused"] == 2
        refused = workplace.table(step, "refused.parquet")
        assert set(refused["prompt_id"]) == {ids(("why",))["why"]}
        assert refused["finish_reason"].str.match(r"refused: status 400: .*maximum context length").all()
        assert ids(("why",))["why"] not in set(workplace.table(step, "responses.parquet")["prompt_id"])
        asked = len(stub.asked)
        more = workplace.made(sampled(engine(stub), n=3))
    assert (more.counts["rows_found"], more.counts["refused"]) == (2 * len(QUESTIONS), 3)
    assert len(stub.asked) - asked == len(QUESTIONS)


def test_an_answer_that_the_server_withholds_is_a_refusal(workplace):
    filtered = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    manner = lambda body, before: web.json_response(filtered) if body["seed"] % 2 else None
    with serving(Stub(manner=manner)) as stub:
        step = sampled(engine(stub), n=4)
        refused = workplace.table(step, "refused.parquet")
    assert len(refused) and set(refused["finish_reason"]) == {
        "refused: filtered: the server's filter removed the answer"
    }
    assert len(refused) + len(workplace.table(step, "responses.parquet")) == 4 * len(QUESTIONS)


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_an_empty_answer_is_a_row_that_says_so(workplace, reason):
    silent = {"choices": [{"message": {"content": None}, "finish_reason": reason}]}
    manner = lambda body, before: web.json_response(silent) if body["messages"][-1]["content"] == "why" else None
    with serving(Stub(manner=manner)) as stub:
        step = sampled(engine(stub))
        refused = workplace.table(step, "refused.parquet")
    assert set(refused["prompt_id"]) == {ids(("why",))["why"]} and len(stub.asked) == 2 * len(QUESTIONS)
    assert refused["finish_reason"].str.startswith("refused: no text: ").all()


def test_a_slow_busy_server_is_waited_for_as_a_queue(workplace):
    """No Retry-After, far more 429s to a request than it has attempts."""
    room = [time.monotonic()]

    def manner(body, before):
        if time.monotonic() < room[0]:
            return answer(429)
        room[0] = time.monotonic() + 0.03
        return None

    with serving(Stub(manner=manner)) as stub:
        counts = workplace.made(sampled(engine(stub, attempts=4, first_wait=0.02, concurrency=32), n=8)).counts
    assert counts["answers"] == counts["rows"] == 8 * len(QUESTIONS)
    assert max(stub.asked.count(body) for body in stub.asked) > 4


def test_a_server_that_is_busy_and_answers_nobody_has_failed(workplace):
    with serving(Stub(manner=lambda body, before: answer(429))) as stub:
        with pytest.raises(ProgramFailed, match="all 3 attempts failed; the last one: status 429"):
            workplace.made(sampled(engine(stub, attempts=3, first_wait=0.02)))
        assert max(stub.asked.count(body) for body in stub.asked) == 3


@pytest.mark.parametrize("usage", [None, "much", {}, {"prompt_tokens": -1, "completion_tokens": "2"}, [1]])
def test_token_counts_that_a_server_gets_wrong_are_unknown(workplace, usage):
    reply = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": usage}
    with serving(Stub(manner=lambda body, before: web.json_response(reply))) as stub:
        step = sampled(engine(stub, price_in=1.0), texts=QUESTIONS[:2], n=1)
        table = workplace.table(step, "responses.parquet")
    assert table["text"].tolist() == ["yes", "yes"]
    assert table["tokens"].isna().all() and table["prompt_tokens"].isna().all()
    assert workplace.made(step).counts["tokens"] == 0


def test_a_text_cut_inside_a_character_is_kept_with_a_mark(workplace):
    reply = {
        "model": "m\ud800",
        "choices": [{"message": {"content": "so \U0001f600\ud83d"}, "finish_reason": "length"}],
    }
    with serving(Stub(manner=lambda body, before: web.json_response(reply))) as stub:
        table = workplace.table(sampled(engine(stub), texts=QUESTIONS[:1], n=1), "responses.parquet")
    assert table["text"].tolist() == ["so \U0001f600\ufffd"] and table["engine"].tolist() == ["endpoint m\ufffd"]


@pytest.mark.parametrize("reason", ["max_tokens", "MAX_TOKENS", "model_length", None])
def test_an_answer_that_reached_its_length_limit_is_cut_off_under_any_name(workplace, reason):
    """Some servers name the limit otherwise, or give no reason; then the number of tokens decides."""
    choice = {"message": {"content": "because the"}, "finish_reason": reason}
    reply = {"choices": [choice], "usage": {"completion_tokens": 8}}
    with serving(Stub(manner=lambda body, before: web.json_response(reply))) as stub:
        table = workplace.table(sampled(engine(stub), texts=QUESTIONS[:1], n=1, max_new_tokens=8), "responses.parquet")
    assert table["finish_reason"].tolist() == ["length"]


def test_a_server_that_refuses_everything_is_no_matter_of_the_prompts(workplace):
    with serving(Stub(manner=lambda body, before: answer(400, "unknown field"))) as stub:
        step = sampled(engine(stub, concurrency=2), n=5)
        with pytest.raises(SourceFailed, match=r"the server refused all of the first 20 requests; .*unknown field"):
            workplace.made(step)
        assert len(stub.asked) < 25 and not workplace.store.parts(step.pool)


def test_a_server_that_refuses_all_is_asked_again_later(workplace):
    with serving(Stub(manner=lambda body, before: answer(400, "unknown field"))) as stub:
        step = sampled(engine(stub), n=1)
        with pytest.raises(
            SourceFailed, match=r"the server refused all 9 requests; its last answer: status 400: unknown field"
        ):
            workplace.made(step)
        assert not workplace.store.parts(step.pool)
        stub.manner = lambda body, before: None
        assert workplace.made(step).counts["answers"] == 9
        stub.manner = lambda body, before: answer(400, "too long")
        assert workplace.made(sampled(engine(stub), n=2)).counts["refused"] == 9  # it has answered others


def test_a_refused_key_fails_the_source_and_is_never_written(workplace, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    step = None
    with serving(Stub(manner=lambda body, before: answer(401))) as stub:
        step = sampled(engine(stub, key="SOME_KEY", restarts=2))
        with pytest.raises(SourceFailed, match="the server does not accept the key"):
            workplace.made(step)
        assert len(stub.asked) <= 64 and stub.keys == {"Bearer sk-very-secret"}
        stub.manner = lambda body, before: None
        workplace.made(step)
    written = [file for file in workplace.folder.rglob("*") if file.is_file()]
    assert len(written) > 3 and not any(b"very-secret" in file.read_bytes() for file in written)


def test_a_key_that_is_not_set_is_named(workplace, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    settings.cache_clear()
    with pytest.raises(Exception, match="SOME_KEY: is not set"):
        workplace.made(
            sampled(EndpointEngine(kind="endpoint", urls=("http://127.0.0.1:9/v1",), model="m", key="SOME_KEY"))
        )


def test_a_key_out_of_a_file_may_end_with_the_files_line_break(workplace, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-very-secret\n")
    with serving(Stub()) as stub:
        workplace.made(sampled(engine(stub, key="SOME_KEY"), n=1))
    assert stub.keys == {"Bearer sk-very-secret"}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((302, {"Location": "https://login.example/?to=v1"}), "redirects to 'https://login.example"),
        ((308, {}), "redirects to 'an unknown address'"),
        ((405, {}), "the address does not accept this kind of request"),
        ((410, {}), "no longer exists"),
    ],
)
def test_a_wrong_address_refuses_no_prompt_for_good(workplace, reply, said):
    status, headers = reply
    with serving(Stub(manner=lambda body, before: answer(status, **headers))) as stub:
        step = sampled(engine(stub, restarts=2), n=1)
        with pytest.raises(SourceFailed, match=said):
            workplace.made(step)
        assert not workplace.store.parts(step.pool)
        stub.manner = lambda body, before: None
        assert workplace.made(step).counts["answers"] == len(QUESTIONS)


@pytest.mark.parametrize("status", [501, 520, 524, 599])
def test_a_fault_of_any_number_on_the_servers_side_passes(workplace, status):
    manner = lambda body, before: answer(status) if before < 2 else None
    with serving(Stub(manner=manner)) as stub:
        counts = workplace.made(sampled(engine(stub, attempts=3, first_wait=0.01), n=1)).counts
    assert counts["answers"] == len(QUESTIONS) and "refused" not in counts


def test_an_address_may_end_with_a_slash(workplace):
    with serving(Stub()) as stub:
        stub.url += "/"
        assert workplace.made(sampled(engine(stub), n=1)).counts["answers"] == len(QUESTIONS)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "host", "ftp://host/v1", "", "http:///v1", "http://host:port/v1"])
def test_what_is_no_address_is_refused_with_the_recipe(url):
    with pytest.raises(ValidationError, match="must name at least one server"):
        EndpointEngine(kind="endpoint", urls=(), model="m")
    with pytest.raises(ValidationError, match="must be an address such as http"):
        EndpointEngine(kind="endpoint", urls=(url,), model="m")


@pytest.mark.parametrize(
    "url", ["http://me:sk-secret@host/v1", "https://host/v1?key=sk-secret", "http://host/v1#sk-secret"]
)
def test_a_key_in_an_address_is_refused(url):
    with pytest.raises(BadInput, match=r"how\.engines\.roller\.urls: .*give the key in its environment variable$"):
        load_recipe("demo", [f"how.engines.roller={{kind='endpoint', urls=['{url}'], model='m'}}"])


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, which makes a certificate")
def test_a_certificate_that_nobody_vouches_for_fails_the_source_at_once(workplace, tmp_path):
    with secured(tmp_path) as url:
        step = sampled(EndpointEngine(kind="endpoint", urls=(url,), model="m", restarts=2))
        with pytest.raises(SourceFailed, match="CERTIFICATE_VERIFY_FAILED"):
            workplace.made(step)
        assert not workplace.store.parts(step.pool)


@contextmanager
def secured(folder: Path):
    """A server over TLS whose certificate is its own work."""
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_a_broken_server_fails_the_source_and_answers_stay(workplace):
    def manner(body, before):
        return answer(500) if stub.answered >= 7 else None

    with serving(Stub(manner=manner)) as stub:
        step = sampled(engine(stub, concurrency=2, attempts=2))
        with pytest.raises(ProgramFailed, match="all 2 attempts failed; the last one: status 500"):
            workplace.made(step)
        stub.manner = lambda body, before: None
        counts = workplace.made(step).counts
    assert (counts["rows_found"], counts["rows_made"]) == (7, 2 * len(QUESTIONS) - 7)


def test_rows_are_shared_out_among_servers_and_none_is_asked_twice(workplace):
    with serving(Stub()) as one, serving(Stub()) as other:
        both = EndpointEngine(kind="endpoint", urls=(one.url, other.url), model="m")
        workplace.launcher.slots = type(workplace.launcher.slots)(2)
        table = workplace.table(sampled(both, n=3), "responses.parquet")
    seeds = lambda stub: {body["seed"] for body in stub.asked}
    assert seeds(one) | seeds(other) == set(table["seed"]) and not seeds(one) & seeds(other)
    assert min(len(one.asked), len(other.asked)) >= 3 * (len(QUESTIONS) // 2)


def test_the_manifest_states_the_cost_of_all_rows(workplace):
    with serving(Stub()) as stub:
        priced = engine(stub, price_in=2.0, price_out=10.0)
        for n in (1, 2):
            counts = workplace.made(sampled(priced, n=n)).counts
        words = sum(len(text.split()) for text in QUESTIONS)
    assert counts["rows_made"] == len(QUESTIONS)
    assert counts["dollars"] == pytest.approx(round(2 * (2 * words + 10 * 2 * len(QUESTIONS)) / 1e6, 4))
    assert "sk-" not in json.dumps(counts)


def test_a_token_server_gets_and_gives_every_engines_ids(workplace):
    from tests import tiny

    tokenizer = tiny.tokenizer()
    answer_ids = tokenizer("hi", add_special_tokens=False)["input_ids"]
    with serving(Stub(says=lambda body: ("ignored", [*answer_ids, 5]))) as stub:
        step = steps.sampled(engine(stub, speaks="tokens"), n=1, top_k=7, repetition_penalty=1.05, max_new_tokens=8)
        table = workplace.table(step, "responses.parquet")
    assert set(table["text"]) == {"hi"} and set(table["tokens"]) == {3} and set(table["finish_reason"]) == {"stop"}
    expected = {
        tuple(prompt_ids(tokenizer, [{"role": "user", "content": text}])): ids(QUESTIONS)[text] for text in QUESTIONS
    }
    seeds = dict(zip(table["prompt_id"], table["seed"], strict=True))
    for body in stub.asked:
        assert body["seed"] == seeds[expected[tuple(body["prompt"])]]
        assert (body["top_k"], body["repetition_penalty"], body["min_p"]) == (
            7,
            1.05,
            0.0,
        )  # none is left to the server
        assert body["stop_token_ids"] == [5] and body["max_tokens"] == 8


def test_token_ids_that_the_model_does_not_have_fail_the_source(tmp_path):
    from tasks.responses.endpoint_program import Tokens
    from tests import tiny

    sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "max_new_tokens": 8}
    form = Tokens({"tokenizer": tiny.folder(tmp_path / "model"), "what": sampling, "how": {"model": "m"}})
    row = {"prompt_id": "p", "sample_index": 0, "seed": 1}
    for foreign in ("hi", -1, 10_000, None, 2.0):
        with pytest.raises(BadInput, match=r"the server returned the token .*, which the model does not have"):
            form.row(row, {"choices": [{"token_ids": [10, foreign]}]})
    assert form.row(row, {"choices": [{"token_ids": [10, 5]}]})["tokens"] == 2


def test_what_a_chat_cannot_say_is_refused(workplace):
    with serving(Stub()) as stub, pytest.raises(SourceFailed, match="need a server with speaks"):
        workplace.made(sampled(engine(stub), top_k=7))
    assert not stub.asked
