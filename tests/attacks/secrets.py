"""Keys that look real in every variable that a run may read, and then everything that the run left is searched for them.

`python -m tests.attacks.secrets`: a small run through Prefect, with an endpoint that has a key and echoes it in its refusals.
"""

import secrets
import tempfile
from pathlib import Path

from aiohttp import web

from tests.chain.small import fuse, write_recipe
from tests.responses.stub import Stub, serving

KEYS = {
    "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
    "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
    "AWS_SESSION_TOKEN": f"IQoJ{secrets.token_urlsafe(200)}",
    "HF_TOKEN": f"hf_{secrets.token_urlsafe(25)}",
    "OPENAI_API_KEY": f"sk-proj-{secrets.token_urlsafe(60)}",
    "ANTHROPIC_API_KEY": f"sk-ant-api03-{secrets.token_urlsafe(60)}",
    "WANDB_API_KEY": secrets.token_hex(20),
    "GITHUB_TOKEN": f"ghp_{secrets.token_hex(18)}",
    "FUSE_JUDGE_KEY": f"sk-{secrets.token_hex(24)}",
    "FUSE_REWARD_KEY": f"sk-{secrets.token_hex(24)}",
    "FUSE_WEBHOOK": f"http://127.0.0.1:9/services/T0{secrets.token_hex(4)}/{secrets.token_urlsafe(18)}",
    "BIG_KEY": f"sk-live-{secrets.token_urlsafe(40)}",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name, serving(Stub()) as stub:
        folder, recipe = Path(name), write_recipe(Path(name))
        said = lambda text: web.Response(status=400, text=f"bad key {text} {KEYS['BIG_KEY']}")
        stub.manner = lambda body, before: None if body["seed"] % 7 else said("Bearer")
        engine = f"how.engines.source-1={{kind='endpoint', urls=['{stub.url}'], model='m', key='BIG_KEY'}}"
        done = fuse(folder / "space", "run", str(recipe), "--set", engine, **KEYS)
        print("fuse run ended with", done.returncode, (done.stdout + done.stderr)[-200:].replace("\n", " | "))
        print("the endpoint got its key:", stub.keys == {f"Bearer {KEYS['BIG_KEY']}"}, "and refused some with it")
        locked = engine.replace("source-1", "source-2")
        stub.manner = lambda body, before: web.Response(status=401, text=f"no such key: {KEYS['BIG_KEY']}")
        failed = fuse(folder / "space", "run", str(recipe), "--set", engine, "--set", locked, **KEYS)
        files = [file for file in (folder / "space").rglob("*") if file.is_file() and not file.is_symlink()]
        places = {file: file.read_bytes() for file in files}
        places |= {Path("output"): (done.stdout + done.stderr + failed.stdout + failed.stderr).encode()}
        found = [
            (name, file.name) for name, key in KEYS.items() for file, data in places.items() if key.encode() in data
        ]
        databases = [file for file in files if file.name.startswith("prefect.db")]
        size = sum(map(len, places.values()))
        print(f"searched {len(places)} places, {size:,} bytes, databases {[file.name for file in databases]}")
        print("found:", found)
        assert databases and not found


if __name__ == "__main__":
    main()
