"""Program: vLLM's own server, tied to whoever started it. Runs in vLLM's Python.

Standard input: a line of JSON {model, how, context, port, key}, so that the key stands on no command line; its end of file is our
end.
"""

import json
import sys

from tasks.program import end_with_starter


def serve(told: dict) -> None:
    from vllm.entrypoints.cli.main import main

    from tasks.responses.arguments import as_words, engine_arguments

    arguments = engine_arguments(told["model"], told["how"], told["context"])
    words = [
        "--host",
        "127.0.0.1",
        "--port",
        str(told["port"]),
        "--api-key",
        told["key"],
        "--served-model-name",
        "served",
    ]
    sys.argv = ["vllm", "serve", arguments.pop("model"), *words, "--disable-uvicorn-access-log", *as_words(arguments)]
    main()


if __name__ == "__main__":
    told = json.loads(sys.stdin.buffer.readline())
    end_with_starter()
    serve(told)
