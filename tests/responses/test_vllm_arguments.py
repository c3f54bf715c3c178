"""Settings of vLLM: which arguments its engine gets, what its rows name, and what a recipe may not pass on."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from infra.errors import BadInput
from tasks.responses.engines import Vllm
from tasks.responses.token_rows import engine_seed, name_engine, reserved_length


def how(**fields) -> dict:
    return Vllm(kind="vllm", **fields).model_dump(mode="json")


@pytest.fixture
def arguments(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("stand_in")))
    yield lambda **fields: __import__("tasks.responses.vllm_arguments", fromlist=["x"]).engine_arguments(
        "m", how(**fields), 100
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm" or name.endswith("vllm_arguments")]:
        del sys.modules[name]


def test_only_what_differs_from_vllms_defaults_is_passed_on(arguments):
    plain = arguments()
    changed = arguments(
        tensor_parallel=2, pipeline_parallel=2, expert_parallel=True, quantization="fp8", kv_cache_dtype="fp8_e5m2",
        extra={"max_num_batched_tokens": 8192, "async_scheduling": True},
    )  # fmt: skip
    new = {name: value for name, value in changed.items() if plain.get(name) != value}
    assert new == {
        **{
            "tensor_parallel_size": 2,
            "pipeline_parallel_size": 2,
            "enable_expert_parallel": True,
            "quantization": "fp8",
        },
        **{"kv_cache_dtype": "fp8_e5m2", "max_num_batched_tokens": 8192, "async_scheduling": True},
    }
    assert not {"quantization", "kv_cache_dtype", "pipeline_parallel_size"} & plain.keys() and plain["seed"] == 0


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "vllm 1 bfloat16"),
        ({"tensor_parallel": 8, "pipeline_parallel": 2, "expert_parallel": True, "in_flight": 7}, "vllm 1 bfloat16"),
        ({"quantization": "fp8", "kv_cache_dtype": "fp8"}, "vllm 1 bfloat16 fp8 kv-cache fp8"),
        ({"seeds": "engine"}, "vllm 1 bfloat16 seed of the engine"),
        ({"extra": {"b": 2, "a": "x"}}, "vllm 1 bfloat16 a=x b=2"),
    ],
)
def test_a_row_names_what_changes_responses_and_nothing_else(fields, name):
    assert name_engine("1", "bfloat16", how(**fields)) == name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"extra": {"trust_remote_code": True}}, "trust_remote_code is set by a field of its own, or not allowed"),
        ({"extra": {"load_format": "pt"}}, "load_format"),
        ({"extra": {"tool_parser_plugin": "x.py"}}, "tool_parser_plugin"),
        ({"extra": {"worker_extension_cls": "x.Y"}}, "worker_extension_cls"),
        ({"extra": {"seed": 3}}, "seed"),
        ({"extra": {"--model": "x"}}, "is not the name of an argument"),
        ({"data_parallel": 2}, "data_parallel: needs server = true"),
    ],
)
def test_what_a_recipe_may_not_pass_on_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        Vllm(kind="vllm", **fields)


def test_a_program_needs_the_gpus_of_all_its_copies():
    assert Vllm(kind="vllm", tensor_parallel=2, pipeline_parallel=3).gpus == 6
    assert Vllm(kind="vllm", tensor_parallel=2, data_parallel=4, server=True).gpus == 8


def test_a_length_that_would_cut_responses_is_refused():
    assert [reserved_length(500, how()), reserved_length(500, how(max_model_len=600))] == [500, 600]
    with pytest.raises(BadInput, match="max_model_len: 499, but the longest prompt with its response has 500 tokens"):
        reserved_length(500, how(max_model_len=499))


def test_programs_with_other_rows_have_other_engine_seeds(tmp_path):
    for name, seed in (("one", 2**47 + 5), ("other", 7)):
        pq.write_table(pa.table({"prompt_id": ["a", "b"], "seed": [seed, 9]}), tmp_path / name)
    assert [engine_seed({"rows": str(tmp_path / name)}) for name in ("one", "other")] == [5, 7]
