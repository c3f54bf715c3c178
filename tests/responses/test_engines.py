"""The same tests over all three engines, with a small real model; vLLM is the real engine, on this machine's CPU."""

import os
from pathlib import Path

import pytest

from infra.settings import settings
from tasks.responses.engines import EndpointEngine, Transformers, Vllm
from tests.responses import small_model
from tests.responses.killed import broken, unbroken
from tests.responses.small_model import QUESTIONS
from tests.responses.steps import ids, model, sampled
from tests.workplace import Workplace

pytestmark = pytest.mark.vllm
ROOT = Path(__file__).parents[2]
LONG = "word " * 9000
TOKENS = 24


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workplace for all tests here: what one has sampled, the others find. And the model's folder."""
    folder = tmp_path_factory.mktemp("engines")
    patch = pytest.MonkeyPatch()
    patch.chdir(ROOT)
    patch.setenv("FUSE_WORKSPACE", str(folder / "workspace"))
    settings.cache_clear()
    if not (settings().vllm.absolute() / "bin" / "python").exists():
        pytest.skip(f"{settings().vllm} holds no vLLM: make vllm")
    if small_model.unpacked() is None:
        pytest.skip("the small model's package is not installed: requirements-small-model.lock")
    yield {"model": small_model.write(folder / "small"), "folder": folder}
    patch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def server(made):
    """vLLM's own server; only the endpoint asks for it."""
    with small_model.served(made["model"], made["folder"] / "server.log") as url:
        yield url


@pytest.fixture
def engine_of(request):
    shared = {"part_seconds": 1.0, "restarts": 1}
    endpoint = {"model": "small", "speaks": "tokens", "concurrency": 32}
    vllm = {"dtype": "float32", "eager": True, "in_flight": 32}
    makers = {
        "transformers": lambda: Transformers(batch_size=32, **shared),
        "vllm": lambda: Vllm(kind="vllm", **vllm, **shared),
        "vllm server": lambda: Vllm(kind="vllm", server=True, **vllm, **shared),
        "endpoint": lambda: EndpointEngine(
            kind="endpoint", urls=(request.getfixturevalue("server"),), **endpoint, **shared
        ),
    }
    return lambda name: makers[name]()


def table(made, name: str, engine, file: str = "responses.parquet", texts=QUESTIONS, **sampling):
    """Each engine has a store of its own: identity knows nothing of engines."""
    place = Workplace(made["folder"] / name)
    step = sampled(engine, texts, model(str(made["model"])), **{"max_new_tokens": TOKENS, **sampling})
    return place.table(step, file), place.made(step).counts


@pytest.mark.parametrize("name", ["transformers", "vllm", "endpoint"])
def test_an_engine_makes_rows_once_and_extends_them(made, engine_of, name):
    texts = (*QUESTIONS[:6], LONG)
    engine = engine_of(name)
    first, counts = table(made, name, engine, texts=texts, n=2, temperature=0.9)
    assert (len(first), counts["refused"], counts["rows_made"]) == (12, 2, 14)
    refused, _ = table(made, name, engine, "refused.parquet", texts=texts, n=2, temperature=0.9)
    assert set(refused["prompt_id"]) == {ids(texts)[LONG]}
    assert refused["finish_reason"].str.match(r"refused: too long: 90\d\d tokens, context 8192").all()
    assert first["engine"].str.startswith({"endpoint": "endpoint small"}.get(name, name)).all()
    assert first["text"].nunique() == 12 and first["tokens"].between(1, TOKENS).all()
    more, counts = table(made, name, engine, texts=texts, n=3, temperature=0.9)
    assert (counts["rows_found"], counts["rows_made"]) == (14, 7)
    assert more[more["sample_index"] < 2].reset_index(drop=True).equals(first)


def test_greedy_decoding_gives_the_same_tokens_on_all_engines(made, engine_of):
    texts = {
        name: table(made, name, engine_of(name), n=1, temperature=0.0)[0].set_index("prompt_id")["text"]
        for name in ("transformers", "vllm", "endpoint", "vllm server")
    }
    alone = texts["transformers"]
    for name in ("vllm", "endpoint", "vllm server"):
        other = texts[name][alone.index]
        differing = alone.index[alone != other]
        gaps = [gap(made["model"], prompt, alone[prompt], other[prompt]) for prompt in differing]
        print(f"\n{name}: {len(alone) - len(differing)} of {len(alone)} greedy answers as transformers gives them; "
              f"log-prob gaps where they part: {[round(one, 6) for one in gaps]}")  # fmt: skip
        assert len(alone) == 64 and len(differing) <= 3


def gap(folder: Path, prompt: str, one: str, other: str) -> float:
    """How much likelier, in nats, the one's token is than the other's where two answers part."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tasks.tokens import prompt_ids, response_ids

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder)
    (text,) = [text for text, each in ids(QUESTIONS).items() if each == prompt]
    first, second = (response_ids(tokenizer, answer) for answer in (one, other))
    place = next(place for place, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
    asked = prompt_ids(tokenizer, [{"role": "user", "content": text}]) + first[:place]
    with torch.inference_mode():
        scores = torch.log_softmax(network(torch.tensor([asked])).logits[0, -1].double(), -1)
    return float(scores[first[place]] - scores[second[place]])


def test_vllm_killed_at_random_leaves_the_unbroken_rows(made, engine_of, monkeypatch):
    """The whole run or the engine alone, while it starts and while it works."""
    kills = int(os.environ.get("KILLS", "20"))  # each costs up to a start of the engine
    often = engine_of("vllm").model_copy(update={"part_seconds": 0.0, "in_flight": 4, "restarts": kills})
    step = sampled(often, QUESTIONS, model(str(made["model"])), n=1, temperature=0.0, max_new_tokens=TOKENS)
    place, folder = Workplace(made["folder"] / "unbroken"), made["folder"] / "broken"
    monkeypatch.setenv("FUSE_WORKSPACE", str(folder / "workspace"))
    settings.cache_clear()
    usual = unbroken(place, step)
    whole = place.table(step, "responses.parquet")
    places, done = broken(folder, step, kills, usual)
    for other in places:
        rows = other.table(step, "responses.parquet")
        differing = rows.index[rows["text"] != whole["text"]]
        gaps = [gap(made["model"], *whole.loc[row, ["prompt_id", "text"]], rows.loc[row, "text"]) for row in differing]
        print(
            f"\n{dict(done)} kills within {usual:.0f} s each: {len(rows) - len(gaps)} of {len(rows)} texts as unbroken, {gaps}"
        )
        key = ["prompt_id", "sample_index", "seed"]
        assert rows[key].equals(whole[key]) and len(rows) == 64
        assert sum(part.rows for part in other.store.parts(step.pool)) == 64  # none was made twice
        assert all(abs(one) < 1e-3 for one in gaps)  # other than by a tie: none
