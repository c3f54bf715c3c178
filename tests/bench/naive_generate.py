"""What our transformers engine is measured against: model.generate over the prompts in their own order, a row per sample.

python -m tests.bench.naive_generate JOB OUT, as the engine's program.
"""

import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM

from tasks.loading import load_model, load_tokenizer, pad
from tasks.program import Progress, run
from tasks.responses.token_rows import end_tokens
from tasks.tokens import prompt_ids


def naive(job: dict, out: Path, progress: Progress) -> dict:
    torch.set_num_threads(job["threads"])
    what, size = job["what"], job["how"]["batch_size"]
    tokenizer, model = load_tokenizer(job["model"]), load_model(AutoModelForCausalLM, job["model"]).eval()
    ends = end_tokens(model.generation_config, tokenizer)
    turns = [turns for turns in pq.read_table(job["prompts"])["messages"].to_pylist() for _ in range(what["n"])]
    tokens, started = 0, (time.monotonic(), time.process_time())
    torch.manual_seed(0)
    for start in range(0, len(turns), size):
        batch = pad(
            [prompt_ids(tokenizer, each) for each in turns[start : start + size]], tokenizer.pad_token_id, "left"
        )
        with torch.inference_mode():
            ids = model.generate(
                **batch,
                do_sample=True,
                temperature=what["temperature"],
                top_p=what["top_p"],
                top_k=0,
                max_new_tokens=what["max_new_tokens"],
                eos_token_id=sorted(ends),
                pad_token_id=tokenizer.pad_token_id,
            )
        for row in ids[:, batch["input_ids"].shape[1] :].tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
            tokenizer.decode(row[:stop], skip_special_tokens=True)
            tokens += stop + 1
    return {
        "tokens_made": tokens,
        "sampling_seconds": time.monotonic() - started[0],
        "sampling_cpu_seconds": time.process_time() - started[1],
    }


if __name__ == "__main__":
    run(naive)
