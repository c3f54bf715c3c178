"""Program: responses of a causal language model through vLLM, offline, each row as it comes. Runs in vLLM's own environment.

JOB {model, rows, prompts, what, how}; writes OUT/part-*.parquet. Knows the job and nothing else; gives the engine token ids and
a seed for every row, keeps it full, and lets it share what the samples of a prompt have in common (prefix caching).
"""

import time
from pathlib import Path

import vllm
from vllm import EngineArgs, LLMEngine, SamplingParams
from vllm.platforms import current_platform

from tasks.loading import load_tokenizer
from tasks.parts import Parts
from tasks.program import Progress, run
from tasks.records import RESPONSE
from tasks.responses.asked import Asked, Reader, answered, context_of, count_of, end_tokens, rows_of
from tasks.tokens import generation_of


def batch(job: dict, out: Path, progress: Progress) -> dict:
    what, how = job["what"], job["how"]
    tokenizer = load_tokenizer(job["model"])
    ends = end_tokens(generation_of(job["model"]), tokenizer)
    reader = Reader(tokenizer, context_of(job["model"]), what["max_new_tokens"])
    engine = started(job["model"], how, longest(job, reader))
    name = f"vllm {vllm.__version__} {engine.model_config.dtype}".replace("torch.", "")
    parts, total = Parts(RESPONSE, out, how["part_seconds"]), count_of(job)
    waiting, asked, tokens = iter(rows_of(job)), {}, 0
    started_at = time.monotonic(), time.process_time()
    while True:
        while len(asked) < 2 * how["in_flight"] and (row := next(waiting, None)):
            one = reader(row)
            if isinstance(one, Asked):
                number = f"{row['prompt_id']}-{row['sample_index']}"
                asked[number] = one
                engine.add_request(number, {"prompt_token_ids": one.ids}, parameters(what, one, ends))
            else:
                parts.add([one])
        if not asked:
            break
        for output in engine.step():
            if output.finished:
                one = asked.pop(output.request_id)
                made = answered(tokenizer, one.row, len(one.ids), list(output.outputs[0].token_ids), ends, name)
                tokens += made["tokens"]
                parts.add([made])
        progress(parts.count, total)
    parts.close()
    return {
        "tokens_made": tokens,
        "sampling_seconds": round(time.monotonic() - started_at[0], 3),  # without the engine's start
        "sampling_cpu_seconds": round(time.process_time() - started_at[1], 3),
    }


def longest(job: dict, reader: Reader) -> int:
    """Tokens that the longest prompt needs with its response: what the engine has to be able to hold, and no more."""
    asked = (one for one in map(reader, rows_of(job)) if isinstance(one, Asked))
    return max((len(one.ids) + one.room for one in asked), default=reader.context)


def started(model: str, how: dict, context: int) -> LLMEngine:
    return LLMEngine.from_engine_args(
        EngineArgs(
            model=model,
            tokenizer=model,
            dtype=how["dtype"],
            max_model_len=context,
            max_num_seqs=how["in_flight"],
            tensor_parallel_size=how["tensor_parallel"],
            gpu_memory_utilization=how["memory"],
            enforce_eager=how["eager"],
            enable_prefix_caching=True,
            block_size=32
            if current_platform.is_cpu()
            else None,  # there 128 by itself, and a short prompt is never shared
            generation_config="vllm",  # the model's own sampling defaults decide nothing
            seed=0,
            disable_log_stats=True,
        )
    )


def on_cpu(context: int) -> dict:
    """Blocks of 128 tokens never share a short prompt. And no prompt may be read in pieces: a seeded request that is (vLLM 0.32)
    rewinds its generator, which torch's generators cannot do on a CPU, and the engine dies."""
    if not current_platform.is_cpu():
        return {}
    return {"block_size": 32, "enable_chunked_prefill": False, "max_num_batched_tokens": max(context, 4096)}


def parameters(what: dict, one: Asked, ends: set[int]) -> SamplingParams:
    return SamplingParams(
        temperature=what["temperature"],
        top_p=what["top_p"],
        top_k=what["top_k"],
        repetition_penalty=what["repetition_penalty"],
        max_tokens=one.room,
        seed=one.row["seed"],
        stop_token_ids=sorted(ends),
        detokenize=False,
    )


if __name__ == "__main__":
    run(batch)
