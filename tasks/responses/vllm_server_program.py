"""Program: starts a vLLM server and requests responses from it as from any endpoint. Runs in vLLM's Python.

JOB {model, rows, prompts, what, how, beside}; writes OUT/part-*.parquet. The server listens on a free loopback port with a random
key. If the server dies, this program ends too, and the stage starts both again.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import aiohttp

from tasks.endpoint.client import EndpointClient
from tasks.program import Progress, run_program
from tasks.records import RESPONSE
from tasks.responses.endpoint_program import Tokens, write_answers
from tasks.responses.token_rows import (
    count_of,
    engine_seed,
    jobs_of,
    longest_row,
    name_engine,
    read_config,
    reserved_length,
)
from tasks.rows.parts import Parts

PATIENCE = 86_400.0  # seconds for one answer: a living server will answer, and wait_for_death notices a dead one


def serve_rows(job: dict, out: Path, progress: Progress) -> dict:
    how, jobs = job["how"], jobs_of(job, out)
    forms = [Tokens({**each, "tokenizer": job["model"], "how": {"model": "served"}}) for each, _ in jobs]
    longest = max(longest_row(each, form.reader) for (each, _), form in zip(jobs, forms, strict=True))
    seed = engine_seed(jobs[0][0]) if how["seeds"] == "engine" else 0
    options = {
        "model": job["model"],
        "how": how,
        "context": reserved_length(longest, how),
        "seed": seed,
        "port": free_port(),
    }
    key = secrets.token_urlsafe()
    with run_server(options | {"key": key}) as server:
        where = EndpointClient(
            f"http://127.0.0.1:{options['port']}/v1",
            key,
            2 * how["in_flight"],
            PATIENCE,
            attempts=3,
            path="completions",
        )
        if (summary := asyncio.run(ask_server(server, where, forms, jobs, progress))) is None:
            end_like(server.wait())
        return summary


async def ask_server(
    server: subprocess.Popen,
    where: EndpointClient,
    forms: list[Tokens],
    jobs: list[tuple[dict, Path]],
    progress: Progress,
) -> dict | None:
    """Returns the summary of the answers, or None if the server dies first."""
    if (version := await server_version(server, where.url.removesuffix("/v1"))) is None:
        return None
    job, _ = jobs[0]
    engine = name_engine(version, precision_of(job["model"], job["how"]["dtype"]), job["how"])
    for form in forms:
        form.engine, form.seeded = f"{engine} server", job["how"]["seeds"] == "row"
    work, death = (
        asyncio.create_task(write_all_answers(where, forms, jobs, progress)),
        asyncio.create_task(wait_for_death(server)),
    )
    await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
    if not death.done():
        death.cancel()
        return work.result()
    work.cancel()
    await asyncio.wait({work})  # until it has written the answers that arrived
    return None


def precision_of(model: str, dtype: str) -> str:
    """The precision for the rows' engine: dtype, that of the weights if it is auto, and the quantisation of the weights."""
    config = read_config(model)
    method = (getattr(config, "quantization_config", None) or {}).get("quant_method")
    kept = f"{config.dtype}".removeprefix("torch.")
    return (f"auto({kept})" if dtype == "auto" else dtype) + (f" {method}" if method else "")


async def write_all_answers(
    where: EndpointClient, forms: list[Tokens], jobs: list[tuple[dict, Path]], progress: Progress
) -> dict:
    """Asks for the rows of one job after the other."""
    total, answers, before, summary = sum(count_of(each) for each, _ in jobs), 0, 0, {}
    for form, (job, folder) in zip(forms, jobs, strict=True):
        parts, so_far = Parts(RESPONSE, folder, job["how"]["part_seconds"]), before
        of_all = lambda done, _, so_far=so_far: progress(so_far + done, total)
        summary = await write_answers(where, form, job, parts, of_all)
        answers, before = answers + summary["answers"], before + count_of(job)
    return {**summary, "answers": answers}


async def wait_for_death(server: subprocess.Popen) -> None:
    while server.poll() is None:
        await asyncio.sleep(0.2)


async def server_version(server: subprocess.Popen, url: str) -> str | None:
    """Waits until the server has loaded its model, and returns its version; None if the server dies."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:
        while server.poll() is None:
            try:
                async with client.get(f"{url}/health") as health, client.get(f"{url}/version") as answer:
                    if health.status == 200:
                        return (await answer.json())["version"]
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)
    return None


def end_like(code: int) -> NoReturn:
    """Ends this program as the server ended, so that the launcher can explain a signal. No traceback: the server logged its
    error."""
    if code < 0:
        print(f"vLLM's server was ended by signal {-code}", file=sys.stderr, flush=True)
        if -code != signal.SIGKILL:  # its action cannot be set, and needs not
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(f"vLLM's server ended with code {code}")


@contextmanager
def run_server(options: dict) -> Iterator[subprocess.Popen]:
    """Runs the server in this process group and with this log, and kills it at the end."""
    server = subprocess.Popen([sys.executable, "-m", "tasks.responses.vllm_server"], stdin=subprocess.PIPE)
    try:
        assert server.stdin is not None
        server.stdin.write(json.dumps(options).encode() + b"\n")
        server.stdin.flush()
        yield server
    finally:
        server.kill()  # its child processes end with the process group
        server.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    run_program(serve_rows)
