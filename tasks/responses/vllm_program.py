"""Program: generates responses of a causal language model with vLLM's offline engine. Runs in vLLM's environment.

JOB {model, rows, prompts, what, how}; writes OUT/part-*.parquet. Gives the engine token ids and a seed for every row, and keeps
its queue full. Prefix caching shares the prompt between its samples.
"""

import time
from pathlib import Path

import vllm  # pyright: ignore[reportMissingImports]
from vllm import EngineArgs, LLMEngine, SamplingParams  # pyright: ignore[reportMissingImports]

from tasks.loading import load_tokenizer
from tasks.program import Progress, run_program
from tasks.records import RESPONSE
from tasks.responses.token_rows import (
    Reader,
    TokenRequest,
    answer_row,
    context_of,
    count_of,
    find_end_tokens,
    longest_row,
    rows_of,
)
from tasks.responses.vllm_arguments import engine_arguments
from tasks.rows.parts import Parts
from tasks.tokens import generation_of


def generate_with_vllm(job: dict, out: Path, progress: Progress) -> dict:
    what, how = job["what"], job["how"]
    tokenizer = load_tokenizer(job["model"])
    ends = find_end_tokens(generation_of(job["model"]), tokenizer)
    reader = Reader(tokenizer, context_of(job["model"]), what["max_new_tokens"])
    arguments = engine_arguments(job["model"], how, longest_row(job, reader))
    engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    config = engine.model_config
    name = f"vllm {vllm.__version__} {config.dtype} {config.quantization or ''}".replace("torch.", "").strip()
    parts, total = Parts(RESPONSE, out, how["part_seconds"]), count_of(job)
    waiting, requests, tokens = iter(rows_of(job)), {}, 0
    started_at = time.monotonic(), time.process_time()
    while True:
        while len(requests) < 2 * how["in_flight"] and (row := next(waiting, None)):
            one = reader(row)
            if isinstance(one, TokenRequest):
                number = f"{row['prompt_id']}-{row['sample_index']}"
                requests[number] = one
                engine.add_request(number, {"prompt_token_ids": one.ids}, sampling_parameters(what, one, ends))
            else:
                parts.add([one])
        if not requests:
            break
        for output in engine.step():
            if output.finished:
                one = requests.pop(output.request_id)
                made = answer_row(tokenizer, one.row, len(one.ids), list(output.outputs[0].token_ids), ends, name)
                tokens += made["tokens"]
                parts.add([made])
        progress(parts.count, total)
    parts.close()
    return {
        "tokens_made": tokens,
        "sampling_seconds": round(time.monotonic() - started_at[0], 3),  # without the start of the engine
        "sampling_cpu_seconds": round(time.process_time() - started_at[1], 3),
    }


def sampling_parameters(what: dict, one: TokenRequest, ends: set[int]) -> SamplingParams:
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
    run_program(generate_with_vllm)
