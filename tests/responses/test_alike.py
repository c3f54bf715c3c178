"""One sampling section of a recipe, and what each engine is asked because of it: the same, row by row and number by number."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from tasks.program import Progress
from tasks.responses.engines import EndpointEngine, Vllm
from tasks.responses.sampled_prompts import select_prompts
from tasks.responses.settings import Sampling
from tasks.responses.stage import list_wanted, row_seed
from tasks.tokens import prompt_ids
from tests import tiny
from tests.responses.steps import Texts, given_prompts, ids
from tests.responses.stub import Stub, serving

TEXTS = ("code a", "code b?", "chat a longer one", "maths a")
WHAT = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 13, "top_k": 11, "repetition_penalty": 1.07}
HOW = {"batch_size": 3, "batches_per_part": 1, "part_seconds": 0, "in_flight": 2, "dtype": "auto", "tensor_parallel": 1}
ASKING = {"concurrency": 4, "timeout": 60, "attempts": 1, "first_wait": 0.1, "memory": 0.5, "eager": True, "key": ""}
SERVED = {
    "model": "m",
    "speaks": "tokens",
    "requests_per_minute": 0,
    "tokens_per_minute": 0,
    "length_field": "max_tokens",
}
END = 5


def engine_settings() -> dict:
    """The defaults of all fields that an engine's program reads."""
    vllm, endpoint = Vllm(kind="vllm"), EndpointEngine(kind="endpoint", urls=("http://127.0.0.1:1/v1",), model="m")
    return vllm.model_dump(mode="json") | endpoint.model_dump(mode="json")


def transformers(job: dict, out: Path, patch: pytest.MonkeyPatch) -> list[dict]:
    """What `model.generate` is given: the choice of the next token is ours, and its noise is the seed's."""
    from tasks.responses import transformers_program as generate

    model, found = tiny.llama(), []

    def listens(input_ids, attention_mask, generation_config, logits_processor, **_):
        penalty, choice = logits_processor
        assert generation_config.do_sample is False  # nothing but the choice chooses
        for row, (tokens, seen) in enumerate(zip(input_ids, attention_mask, strict=True)):
            prompt = tokens[seen.bool()].tolist()
            assert penalty.prompts[row] == prompt
            found.append({
                "prompt": prompt, "seed": job["seed_of"](choice.noise[row]), "temperature": choice.temperature,
                "top_p": choice.top_p, "max_new_tokens": generation_config.max_new_tokens, "top_k": choice.top_k,
                "repetition_penalty": penalty.penalty,
            })  # fmt: skip
        return torch.cat([input_ids, torch.full((len(input_ids), 1), END)], dim=1)

    model.generate = listens
    patch.setattr(generate, "load_model", lambda *_: model)
    generate.generate_rows(job, out, Progress(out))
    return found


def vllm(job: dict, out: Path, patch: pytest.MonkeyPatch) -> list[dict]:
    """What `LLMEngine.add_request` is given."""
    found, waiting = [], []

    class Engine:
        model_config = SimpleNamespace(dtype="float32", quantization=None)
        from_engine_args = classmethod(lambda cls, arguments: cls())

        def add_request(self, number, prompt, parameters):
            lengths = {"max_new_tokens": parameters.pop("max_tokens")}
            assert parameters.pop("stop_token_ids") == [END] and parameters.pop("detokenize") is False
            found.append({"prompt": prompt["prompt_token_ids"], **parameters, **lengths})
            waiting.append(number)

        def step(self):
            answer = [SimpleNamespace(token_ids=[END])]
            return [SimpleNamespace(finished=True, request_id=waiting.pop(), outputs=answer) for _ in waiting[:]]

    library = ModuleType("vllm")
    library.__version__, library.EngineArgs, library.LLMEngine, library.SamplingParams = "0", dict, Engine, dict
    platforms = ModuleType("vllm.platforms")
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: True)
    patch.setitem(sys.modules, "vllm", library)
    patch.setitem(sys.modules, "vllm.platforms", platforms)
    for module in ("vllm_arguments", "vllm_program"):
        patch.delitem(sys.modules, f"tasks.responses.{module}", raising=False)
    from tasks.responses.vllm_program import generate_with_vllm

    generate_with_vllm(job, out, Progress(out))
    for module in ("vllm_arguments", "vllm_program"):
        patch.delitem(sys.modules, f"tasks.responses.{module}")
    return found


def endpoint(job: dict, out: Path, patch: pytest.MonkeyPatch) -> list[dict]:
    """The JSON of every request."""
    from tasks.responses.endpoint_program import ask_rows

    with serving(Stub(says=lambda body: ("", [END]))) as stub:
        ask_rows({**job, "url": stub.url, "tokenizer": job["model"], "known": [], "found": 0}, out, Progress(out))
    assert all(body["min_p"] == 0 and body["stop_token_ids"] == [END] for body in stub.asked)
    kept = ("prompt", "seed", "temperature", "top_p", "top_k", "repetition_penalty")
    return [{name: body[name] for name in kept} | {"max_new_tokens": body["max_tokens"]} for body in stub.asked]


@pytest.fixture
def job(workplace, tmp_path) -> dict:
    made = workplace.made(given_prompts(what=Texts(texts=TEXTS)))
    prompts = workplace.store.fetch(made) / "prompts.parquet"
    what = Sampling(**WHAT, n=2, seed=5, by_category={"code": 3, "maths": 0})
    rows = list_wanted(select_prompts(prompts, None, what), what, "model")
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    folder = tiny.folder(tmp_path / "model")

    def seed_of(noise: torch.Tensor) -> int:
        stream = lambda seed: torch.rand(len(noise), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        (seed,) = (seed for seed in rows["seed"] if torch.equal(stream(seed), noise))
        return seed

    return {
        **{"model": str(folder), "prompts": str(prompts), "rows": str(tmp_path / "rows.parquet"), "threads": 1},
        **{"what": what.model_dump(mode="json"), "how": engine_settings() | HOW | ASKING | SERVED, "seed_of": seed_of},
    }


def expected() -> list[dict]:
    """From the recipe's words alone: code thrice, mathematics not at all, the rest twice."""
    tokenizer = tiny.tokenizer()
    times = {"code a": 3, "code b?": 3, "chat a longer one": 2}
    return [
        {
            "prompt": prompt_ids(tokenizer, [{"role": "user", "content": text}]),
            "seed": row_seed(5, "model", ids(TEXTS)[text], index),
            **WHAT,
        }
        for text, number in times.items()
        for index in range(number)
    ]


@pytest.mark.parametrize("engine", [transformers, vllm, endpoint], ids=lambda engine: engine.__name__)
def test_one_value_of_a_recipe_reaches_every_engine_as_it_stands(engine, job, tmp_path, monkeypatch):
    (out := tmp_path / "out").mkdir()
    by_seed = lambda asked: sorted(asked, key=lambda one: one["seed"])
    assert by_seed(engine(job, out, monkeypatch)) == by_seed(expected())


def test_a_chat_says_what_openai_has_fields_for(job):
    """And refuses the others; tests/responses/test_ask.py."""
    from tasks.responses.endpoint_program import Chat

    plain = {**job["what"], "top_k": 0, "repetition_penalty": 1.0}
    for field in ("max_tokens", "max_completion_tokens"):
        form = Chat({**job, "what": plain, "how": {**job["how"], "length_field": field}})
        messages = [{"role": "user", "content": "hi"}]
        assert form.body({"messages": messages, "seed": 3}) == {
            **{"model": "m", "messages": messages, "seed": 3},
            **{"temperature": WHAT["temperature"], "top_p": WHAT["top_p"], field: WHAT["max_new_tokens"]},
        }
