"""Another model behind the same settings adds no rows to those of the first one, unless the recipe accepts it by name."""

import math

import pyarrow.parquet as pq
import pytest

from infra.errors import SourceFailed, Unavailable
from tasks.endpoint.served_model import mean_difference, total_variation
from tasks.records import RESPONSE
from tests.responses import steps
from tests.responses.steps import QUESTIONS, model
from tests.responses.stub import Stub, serving
from tests.responses.test_ask import engine

LLAMA = {"root": "/models/llama", "owned_by": "vllm"}
QWEN = {"root": "/models/qwen", "owned_by": "vllm"}
CHANCES = [-0.5, -1.5, -2.5, -3.5]


def sampled(stub: Stub, n: int = 1, **fields):
    more = {"first_wait": 0.01, **fields}
    return steps.sampled(engine(stub, **more), made_by=model(kind="served"), n=n)


def identities(workplace, step) -> list[str]:
    files = [workplace.store.fetch_part(part) for part in workplace.store.parts(step.pool)]
    found = {(pq.read_schema(file).metadata or {}).get(b"served_model", b"") for file in files}
    return sorted(text.decode() for text in found)


def engines(workplace, step) -> dict[str, int]:
    return workplace.table(step, "responses.parquet")["engine"].value_counts().to_dict()


def test_every_part_names_the_model_that_made_it_and_the_same_one_goes_on(workplace):
    with serving(Stub(entry=LLAMA, chances=CHANCES)) as stub:
        workplace.made(sampled(stub))
        stub.chances = [each - 0.03 for each in CHANCES]  # what else runs on a GPU changes the last digits
        step = sampled(stub, n=2)
        assert engines(workplace, step) == {"endpoint m": 2 * len(QUESTIONS)}
        assert len(stub.asked) == stub.answered == 2 * len(QUESTIONS), "the probe is no row"
    (identity,) = identities(workplace, step)
    assert '"name":"m#1"' in identity and '"root":"/models/llama"' in identity and '"speaks":"chat"' in identity
    assert "created" not in identity and '"0 w0":-0.5' in identity
    assert pq.read_schema(workplace.store.fetch_part(workplace.store.parts(step.pool)[0])).names == RESPONSE.names


def change_weights(stub: Stub) -> None:
    stub.entry = QWEN


def change_chances(stub: Stub) -> None:
    stub.chances = [-3.5, -2.5, -1.5, -0.5]


def stop_listing(stub: Stub) -> None:
    stub.entry = None


@pytest.mark.parametrize(
    ("change", "reason", "name", "mark"),
    [
        (change_weights, "its root was '/models/llama' and is '/models/qwen'", "m#2", "#2"),
        (change_chances, r"its probabilities of a fixed text differ by 0\.72 in total variation", "m#2", "#2"),
        (stop_listing, "the server lists no such model", "unlisted", ""),
    ],
)
def test_another_model_is_refused_and_accepted_by_name(workplace, change, reason, name, mark):
    with serving(Stub(entry=LLAMA, chances=CHANCES)) as stub:
        workplace.made(sampled(stub))
        change(stub)
        with pytest.raises(SourceFailed, match=f"serves another model 'm'.*{reason}.*accept_models = .\"{name}\""):
            workplace.made(sampled(stub, n=2))
        assert len(stub.asked) == len(QUESTIONS), "no request was paid for"
        step = sampled(stub, n=2, accept_models=(name,))
        half = len(QUESTIONS)
        expected = {"endpoint m": 2 * half} if not mark else {"endpoint m": half, f"endpoint m{mark}": half}
        assert engines(workplace, step) == expected
        stub.entry, stub.chances = LLAMA, CHANCES
        workplace.made(sampled(stub, n=3))
        stub.entry = LLAMA | {"root": "/models/third"}
        third = "m#2" if name == "unlisted" else "m#3"
        with pytest.raises(SourceFailed, match=f'accept_models = ."{third}"'):
            workplace.made(sampled(stub, n=4))


def test_rows_that_were_made_without_an_identity_stay_valid(workplace):
    with serving(Stub()) as stub:
        workplace.made(sampled(stub))
        stub.entry = LLAMA  # and gives no log-probs
        step = sampled(stub, n=2)
        assert engines(workplace, step) == {"endpoint m": 2 * len(QUESTIONS)}
        assert len(stub.asked) == 2 * len(QUESTIONS)
    unknown, known = identities(workplace, step)
    assert unknown == "" and '"probe":{}' in known


def test_servers_of_one_source_must_serve_the_same_model(workplace):
    workplace.launcher.slots = type(workplace.launcher.slots)(2)
    with serving(Stub(entry=LLAMA)) as one, serving(Stub(entry=QWEN)) as other:
        step = sampled(one, urls=(one.url, other.url))
        with pytest.raises(SourceFailed, match=f"{other.url}: serves another model"):
            workplace.made(step)
        assert other.asked == []


def test_a_server_that_cannot_list_its_models_now_is_asked_again_later(workplace):
    with serving(Stub(entry=LLAMA)) as stub:
        workplace.made(sampled(stub))
        stub.broken_list = True
        with pytest.raises(Unavailable, match="did not say which model it serves: 3 attempts, the last: status 500"):
            workplace.made(sampled(stub, n=2))
        stub.broken_list = False
        workplace.made(sampled(stub, n=2))


def test_token_servers_are_compared_by_the_log_probs_of_a_text(workplace, tmp_path):
    from tasks.endpoint.client import EndpointClient
    from tasks.responses.endpoint_program import identify_server

    with serving(Stub(entry=LLAMA, chances=CHANCES)) as stub:
        how = engine(stub, speaks="tokens").model_dump(mode="json")
        ask = lambda known: identify_server(EndpointClient(stub.url), {"how": how, "url": stub.url, "known": known})
        first = ask([])
        assert first.probe == {f"{place + 1} w{place}": each for place, each in enumerate(CHANCES)}
        stub.chances = [each - 0.03 for each in CHANCES]
        assert ask([first.model_dump()]) == first
        stub.chances = [each - 0.3 for each in CHANCES]
        with pytest.raises(Exception, match=r"differ by 0\.30 nats on average"):
            ask([first.model_dump()])


def test_the_distances_by_hand():
    assert mean_difference({"0 a": -1, "1 b": -2}, {"0 a": -1.5, "1 b": -1}) == 0.75
    assert mean_difference({"0 a": -1}, {"0 b": -2}) == (9 + 8) / 2, "other tokens count as e^-10"
    assert mean_difference({"0 a": -30}, {"0 a": -12}) == 0
    left, right = {"a": math.log(0.5), "b": math.log(0.5)}, {"a": math.log(0.25), "c": math.log(0.75)}
    assert total_variation(left, right) == pytest.approx((0.25 + 0.5 + 0.75) / 2)
