"""Program: generates responses of a causal language model with vLLM's offline engine. Runs in vLLM's environment.

JOB {model, rows, prompts, what, how, beside}; writes OUT/part-*.parquet. Gives the engine token ids and a seed for every row,
and keeps its queue full. Prefix caching shares the prompt between its samples.
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
    engine_seed,
    find_end_tokens,
    jobs_of,
    longest_row,
    name_engine,
    reserved_length,
    rows_of,
)
from tasks.responses.vllm_arguments import engine_arguments
from tasks.rows.parts import Parts
from tasks.tokens import generation_of


def generate_with_vllm(job: dict, out: Path, progress: Progress) -> dict:
    how, jobs = job["how"], jobs_of(job, out)
    tokenizer = load_tokenizer(job["model"])
    ends = find_end_tokens(generation_of(job["model"]), tokenizer)
    readers = [Reader(tokenizer, context_of(job["model"]), each["what"]["max_new_tokens"]) for each, _ in jobs]
    longest = max(longest_row(each, reader) for (each, _), reader in zip(jobs, readers, strict=True))
    seed = engine_seed(jobs[0][0]) if how["seeds"] == "engine" else 0
    arguments = engine_arguments(job["model"], how, reserved_length(longest, how), seed)
    engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    precision = f"{engine.model_config.dtype} {engine.model_config.quantization or ''}".removeprefix("torch.").strip()
    name = name_engine(vllm.__version__, precision, how)
    parts = [Parts(RESPONSE, folder, how["part_seconds"]) for _, folder in jobs]
    waiting = ((place, row) for place, (each, _) in enumerate(jobs) for row in rows_of(each))
    asked: dict[str, tuple[int, TokenRequest]] = {}
    tokens, total = 0, sum(count_of(each) for each, _ in jobs)
    started_at = time.monotonic(), time.process_time()
    while True:
        while len(asked) < 2 * how["in_flight"] and (following := next(waiting, None)):
            place, row = following
            one = readers[place](row)
            if isinstance(one, TokenRequest):
                number = f"{place}-{row['prompt_id']}-{row['sample_index']}"
                asked[number] = place, one
                parameters = sampling_parameters(jobs[place][0]["what"], one, ends, how["seeds"] == "row")
                engine.add_request(number, {"prompt_token_ids": one.ids}, parameters)
            else:
                parts[place].add([one])
        if not asked:
            break
        for output in engine.step():
            if output.finished:
                place, one = asked.pop(output.request_id)
                made = answer_row(tokenizer, one.row, len(one.ids), list(output.outputs[0].token_ids), ends, name)
                tokens += made["tokens"]
                parts[place].add([made])
        progress(sum(each.count for each in parts), total)
    for each in parts:
        each.close()
    return {
        "tokens_made": tokens,
        "sampling_seconds": round(time.monotonic() - started_at[0], 3),  # without the start of the engine
        "sampling_cpu_seconds": round(time.process_time() - started_at[1], 3),
    }


def sampling_parameters(what: dict, one: TokenRequest, ends: set[int], seeded: bool = True) -> SamplingParams:
    return SamplingParams(
        temperature=what["temperature"],
        top_p=what["top_p"],
        top_k=what["top_k"],
        repetition_penalty=what["repetition_penalty"],
        max_tokens=one.room,
        seed=one.row["seed"] if seeded else None,
        stop_token_ids=sorted(ends),
        detokenize=False,
    )


if __name__ == "__main__":
    run_program(generate_with_vllm)
