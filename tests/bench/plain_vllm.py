"""What our stage over vLLM is measured against: LLM.generate with the same prompts, seeds and settings. Runs in vLLM's Python.

python -m tests.bench.plain_vllm JOB prints {tokens, seconds, cpu}, without the engine's start. JOB is the worker's own job.
"""

import json
import sys
import time
from pathlib import Path

from vllm import LLM

from tasks.loading import load_tokenizer
from tasks.responses.token_rows import Reader, context_of, end_tokens, longest, rows_of
from tasks.responses.vllm_arguments import on_cpu
from tasks.responses.vllm_program import parameters
from tasks.tokens import generation_of


def main(job: dict) -> None:
    tokenizer, how = load_tokenizer(job["model"]), job["how"]
    reader = Reader(tokenizer, context_of(job["model"]), job["what"]["max_new_tokens"])
    engine = LLM(
        model=job["model"],
        dtype=how["dtype"],
        max_model_len=longest(job, reader),
        max_num_seqs=how["in_flight"],
        enforce_eager=how["eager"],
        enable_prefix_caching=job["prefix_caching"],
        **on_cpu(longest(job, reader)),
        generation_config="vllm",
        disable_log_stats=True,
    )
    ends = end_tokens(generation_of(job["model"]), tokenizer)
    started, cpu = time.monotonic(), time.process_time()
    asked = [reader(row) for row in rows_of(job)]
    prompts = [{"prompt_token_ids": one.ids} for one in asked]
    made = engine.generate(prompts, [parameters(job["what"], one, ends) for one in asked], use_tqdm=False)
    tokens = sum(len(output.outputs[0].token_ids) for output in made)
    print(json.dumps({"tokens": tokens, "seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
