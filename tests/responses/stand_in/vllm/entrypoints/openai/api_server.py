"""vLLM's server: it answers a prompt of token ids with ids that follow from the seed. In its folder STAND_IN it writes its words
and its number, and dies after three answers as often as the file `deaths` there says: by the signal whose number is in the file
`signal`, if there is one."""

import argparse
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

END = 5


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("--port", type=int)
    reader.add_argument("--api-key")
    told, _ = reader.parse_known_args()
    folder = Path(os.environ["STAND_IN"])
    (folder / "words").write_text("\n".join(sys.argv))
    (folder / "pid").write_text(str(os.getpid()))
    app = web.Application()
    app.router.add_get("/health", lambda request: answer({}))
    app.router.add_get("/version", lambda request: answer({"version": "0"}))
    app.router.add_post("/v1/completions", Completions(told.api_key, folder))
    web.run_app(app, host="127.0.0.1", port=told.port, print=None)


async def answer(value: dict) -> web.Response:
    return web.json_response(value)


class Completions:
    def __init__(self, key: str, folder: Path):
        self.key, self.folder, self.answers = key, folder, 0

    async def __call__(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.Response(status=401)
        self.die()
        asked = await request.json()
        self.answers += 1
        choice = {"text": "", "token_ids": ids(asked["seed"]), "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": len(asked["prompt"])}})

    def die(self) -> None:
        deaths = self.folder / "deaths"
        left = int(deaths.read_text()) if deaths.exists() else 0
        if left and self.answers == 3:
            deaths.write_text(str(left - 1))
            print("out of memory, says the engine", file=sys.stderr, flush=True)
            if (ending := self.folder / "signal").exists():
                signal.raise_signal(int(ending.read_text()))
            os._exit(3)


def ids(seed: int) -> list[int]:
    """Four letters of the tests' tokenizer, and its end token."""
    return [*(10 + (seed >> 4 * place) % 16 for place in range(4)), END]


if __name__ == "__main__":
    main()
