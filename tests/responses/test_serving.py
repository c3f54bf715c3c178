"""A vLLM server of a worker's own: started, asked under a key, ended, started again. The server alone is a stand-in."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from infra.errors import ProgramFailed, ProgramKilled
from infra.settings import settings
from tasks.responses.engines import Vllm
from tasks.responses.vllm_server_program import free_port
from tests import tiny
from tests.patience import STILL, wait_until
from tests.responses.stand_in.vllm.entrypoints.openai.api_server import ids
from tests.responses.steps import QUESTIONS, sampled

STAND_IN = Path(__file__).with_name("stand_in")


@pytest.fixture
def folder(workplace, monkeypatch):
    """The stand-in's folder; its Python is ours, in an environment where vLLM is the stand-in."""
    python = workplace.folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{STAND_IN}:$PYTHONPATH" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("FUSE_VLLM", str(python.parents[1]))
    monkeypatch.setenv("STAND_IN", str(workplace.folder))
    settings.cache_clear()
    return workplace.folder


def step(n: int = 2, **fields):
    engine = Vllm(kind="vllm", server=True, **{"restarts": 0, "part_seconds": 0, "in_flight": 1, **fields})
    return sampled(engine, n=n, temperature=0.8)


def gone(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


def test_a_server_is_started_asked_under_its_key_and_ended(workplace, folder):
    table = workplace.table(step(), "responses.parquet")
    tokenizer = tiny.tokenizer()
    assert table["text"].tolist() == [tokenizer.decode(ids(seed)[:-1]) for seed in table["seed"]]
    assert len(table) == 2 * len(QUESTIONS) and set(table["engine"]) == {"vllm 0 auto(float32) server"}
    wait_until(lambda: gone(int((folder / "pid").read_text())))
    words = (folder / "words").read_text().split("\n")
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert {"--enable-prefix-caching", "--no-enable-chunked-prefill", "--no-enforce-eager"} < set(words)
    (key,) = [word.removeprefix("--api-key=").encode() for word in words if word.startswith("--api-key")]
    kept = [file for file in folder.rglob("*") if file.is_file() and file.name != "words"]
    assert len(key) > 30 and not any(key in file.read_bytes() for file in kept)


def test_a_server_ends_with_its_starter(folder):
    told = {
        "model": "m",
        "how": Vllm(kind="vllm").model_dump(),
        "context": 64,
        "seed": 0,
        "port": free_port(),
        "key": "-k",
    }
    words = [folder / "environment" / "bin" / "python", "-m", "tasks.responses.vllm_server"]
    server = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    try:
        server.stdin.write(json.dumps(told).encode() + b"\n")
        server.stdin.flush()
        wait_until(lambda: (folder / "pid").exists())
        assert server.poll() is None
        server.stdin.close()
        assert server.wait(STILL) == -signal.SIGKILL
    finally:
        server.kill()


def test_that_it_is_a_server_moves_no_address():
    assert step().address == sampled(Vllm(kind="vllm"), n=2, temperature=0.8).address
    assert step().pool == sampled(Vllm(kind="vllm"), n=2, temperature=0.8).pool


def test_a_server_that_keeps_dying_is_given_up_and_answers_stay(workplace, folder):
    (folder / "deaths").write_text("9")
    with pytest.raises(
        ProgramFailed, match=r"(?s)vllm_server_program ended with code 1.*out of memory, says the engine.*with code 3"
    ):
        workplace.made(step())
    assert rows_of(workplace) == 3


def test_a_killed_server_ends_its_program_by_the_same_signal(workplace, folder):
    (folder / "deaths").write_text("9")
    (folder / "signal").write_text(f"{signal.SIGKILL:d}")
    with pytest.raises(ProgramKilled, match=r"(?s)vllm_server_program was killed by signal 9: .*ended by signal 9"):
        workplace.made(step())
    assert rows_of(workplace) == 3


def test_server_and_worker_end_together_and_resume(workplace, folder):
    (folder / "deaths").write_text("1")
    killed, lives = [], set()

    def kill() -> None:
        """The asking program, once it has a server that does not die by itself."""
        while len(lives) < 2 or rows_of(workplace) < 5:
            with suppress(FileNotFoundError, ValueError):
                lives.add(int((folder / "pid").read_text()))
            time.sleep(0.02)
        server = int((folder / "pid").read_text())
        asking = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
        killed.extend([server, asking])
        os.kill(asking, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    counts = workplace.made(step(n=40, restarts=2)).counts
    killer.join()
    assert (counts["restarts"], counts["rows_made"]) == (2, 40 * len(QUESTIONS))
    wait_until(lambda: gone(killed[0]))
    assert rows_of(workplace) == 40 * len(QUESTIONS)  # none was made twice


def rows_of(workplace) -> int:
    return sum(part.rows for part in workplace.store.parts(step().pool))
