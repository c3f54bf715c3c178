"""What our sampling costs beside the plain way: over vLLM, over transformers, over an endpoint. Prints a line for each.

FUSE_VLLM=.venv-vllm python -m tests.bench.sampling [vllm] [transformers] [endpoint]. A small real model, float32, on one thread;
tokens per CPU-second, engine start excluded, since other work on the machine moves wall time more than what is measured.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROMPTS, SAMPLES, TOKENS = 16, 5, 24
CONTEXT = "Here is what was said before. " * 12  # prompts as long as real ones
REQUESTS = 4000


def main(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"FUSE_WORKSPACE": f"{name}/workspace", "HF_HUB_OFFLINE": "1"}
        job = prepared(folder) if {"vllm", "transformers"} & set(parts) else {}
        for part in parts:
            {"vllm": bench_vllm, "transformers": bench_transformers, "endpoint": bench_endpoint}[part](folder, job)


def prepared(folder: Path) -> dict:
    """The job that every engine gets: prompts of unlike length, in no order of length, and their rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tasks.records import PROMPT, prompt_id
    from tasks.responses.sampled_prompts import select_prompts
    from tasks.responses.settings import Sampling
    from tasks.responses.stage import list_wanted
    from tests.responses import small_model

    what = Sampling(n=SAMPLES, temperature=0.8, max_new_tokens=TOKENS, seed=1)
    texts = [CONTEXT * (number % 4) + text for number, text in enumerate(small_model.QUESTIONS[:PROMPTS])]
    turns = [[{"role": "user", "content": text}] for text in texts]
    prompts = [{"prompt_id": prompt_id(each), "messages": each, "category": ""} for each in turns]
    pq.write_table(pa.Table.from_pylist(prompts, PROMPT), folder / "prompts.parquet")
    rows = list_wanted(select_prompts(folder / "prompts.parquet", None, what), what, "model")
    rows.to_parquet(folder / "rows.parquet", index=False)
    return {
        "model": str(small_model.write(folder / "small")),
        "prompts": str(folder / "prompts.parquet"),
        "rows": str(folder / "rows.parquet"),
        "what": what.model_dump(mode="json"),
        "threads": 1,
    }


def bench_vllm(folder: Path, job: dict) -> None:
    from infra.launch import Launcher
    from infra.settings import program_environment, vllm_environment
    from tasks.responses.engines import Vllm
    from tasks.responses.programs import vllm_python

    how = Vllm(kind="vllm", dtype="float32", eager=True, in_flight=32)
    job = {**job, "how": how.model_dump(mode="json")}
    ours = Launcher(1, 1).run("tasks.responses.vllm_program", job, folder / "vllm", environment=vllm_python(how))
    mine = ours["tokens_made"] / ours["sampling_cpu_seconds"]
    for shares in (True, False):
        file = folder / f"plain-{shares}.json"
        file.write_text(json.dumps({**job, "prefix_caching": shares}))
        words = [vllm_python(how).python, "-m", "tests.bench.plain_vllm", str(file)]
        environment = program_environment(1) | vllm_environment()
        answer = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        plain = json.loads(answer.stdout.splitlines()[-1])
        rate, name = plain["tokens"] / plain["cpu"], "" if shares else " without prefix caching"
        print(
            f"vllm: our stage {mine:.1f} tokens per CPU-second ({ours['tokens_made'] / ours['sampling_seconds']:.1f} per "
            f"second), LLM.generate{name} {rate:.1f} ({plain['tokens'] / plain['seconds']:.1f}): {mine / rate:.1%}",
            flush=True,
        )


def bench_transformers(folder: Path, job: dict) -> None:
    """In a process of its own each, so that neither warms the other up."""
    from infra.launch import Launcher
    from tasks.responses.engines import Transformers

    job = {**job, "how": Transformers(batch_size=20).model_dump(mode="json")}
    ours = Launcher(1, 1).run("tasks.responses.transformers_program", job, folder / "transformers")
    plain = Launcher(1, 1).run("tests.bench.naive_generate", job, folder / "naive")
    rates = [one["tokens_made"] / one["sampling_cpu_seconds"] for one in (ours, plain)]
    print(
        f"transformers: our stage {rates[0]:.1f} tokens per CPU-second, model.generate in prompt order {rates[1]:.1f}: "
        f"{rates[0] / rates[1]:.2f} times",
        flush=True,
    )


def bench_endpoint(folder: Path, job: dict) -> None:
    from tasks.endpoint.client import EndpointClient, ask_all

    echo = [sys.executable, "-m", "tests.bench.echo_server", "1500"]
    server = subprocess.Popen(echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    endpoint = EndpointClient(f"http://127.0.0.1:{server.stdout.readline().strip()}/v1", concurrency=64)
    turns = [{"role": "user", "content": CONTEXT}]
    bodies = ((str(number), {"model": "m", "messages": turns, "seed": number}) for number in range(REQUESTS))

    async def listen() -> int:
        return sum([1 async for _ in ask_all(endpoint, bodies)])

    import asyncio

    started, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    answers = asyncio.run(listen())
    spent = resource.getrusage(resource.RUSAGE_SELF)
    busy = spent.ru_utime + spent.ru_stime - cpu.ru_utime - cpu.ru_stime
    server.stdin.close()
    print(
        f"endpoint: {1000 * busy / answers:.2f} ms of CPU per request at concurrency 64, "
        f"{answers / (time.monotonic() - started):.0f} requests per second",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or ["vllm", "transformers", "endpoint"])
