"""The whole chain, killed, doubled and moved to S3: it ends with the bytes of the run that nobody disturbed."""

import json
import shutil

from infra.manifest import CLOCKED
from infra.store import Store
from tests.chain.small import fuse, kill, manifests, start
from tests.patience import end_of, wait_until

AFTER_MODELS = ("per-model", "reward", "SFT", "pairs", "WRPO", "evaluation", "report")
AFTER_SFT = ("per-model sampling · SFT", "reward annotation · SFT", "pairs", "WRPO", "evaluation", "report")


def started(done, space, but: tuple[str, ...]) -> None:
    """Copies what is done into another workspace, but for steps whose label begins with one of `but`: saves time."""
    for address, text in manifests(done[0] / "store").items():
        if not json.loads(text)["label"].startswith(but):
            shutil.copytree(done[0] / "store" / address, space / "store" / address)


def contents(space) -> dict:
    """address -> the files' digests. Reports and speeds aside: they tell the time."""
    made = {address: json.loads(text) for address, text in manifests(space / "store").items()}
    return {
        address: [(file["name"], file["sha256"]) for file in m["files"] if file["name"] != CLOCKED]
        for address, m in made.items()
        if m["stage"] != "report" and m["what"].get("n") != 4
    }


def test_a_run_killed_at_several_moments_continues_where_it_was(done, server, tmp_path):
    """SIGKILL of the flow while programs run: they end with it, and what was finished is found, not made again."""
    reference, recipe, _ = done
    space = tmp_path / "space"
    started(done, space, AFTER_MODELS)
    moments = [
        lambda: list((space / "store").glob("pools/per-model-sampling/*/*.parquet")),
        lambda: list((space / "store").glob("pools/reward-annotation/*/*.parquet")),
        lambda: list((space / "store").glob("sft/*/MANIFEST.json")),
    ]
    finished = manifests(space / "store")
    for reached in moments:
        process = start(space, "run", str(recipe), **server)
        wait_until(reached, space)
        kill(process, space)
        now = manifests(space / "store")
        assert finished.items() <= now.items()
        finished = now
    answer = fuse(space, "run", str(recipe), **server)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    after = manifests(space / "store")
    assert finished.items() <= after.items()
    resumed = [
        json.loads(text)["counts"] for address, text in after.items() if address.startswith(("per-model", "reward"))
    ]
    assert any(counts["rows_found"] and counts["rows_made"] for counts in resumed), "no part outlived a kill"
    assert contents(space) == contents(reference)


def test_two_runs_at_once_make_everything_once(done, server, tmp_path):
    reference, recipe, _ = done
    space = tmp_path / "space"
    started(done, space, AFTER_MODELS)
    ready = len(manifests(space / "store"))
    processes = [start(space, "run", str(recipe), **server) for _ in range(2)]
    printed = [end_of(process, space).stdout for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    ticks = [
        line.split("✓")[1].rsplit(" ", 2)[0].strip() for text in printed for line in text.splitlines() if "✓" in line
    ]
    assert len(ticks) == len(set(ticks)) == 26 - ready, sorted(ticks)
    assert contents(space) == contents(reference)


def test_the_chain_runs_the_same_on_a_real_s3_server(done, server, seaweed, tmp_path):
    reference, recipe, _ = done
    place = {
        "FUSE_STORE": f"{seaweed.url}/chain",
        "AWS_ENDPOINT_URL": seaweed.endpoint,
        "AWS_ACCESS_KEY_ID": "worker",
        "AWS_SECRET_ACCESS_KEY": "worker-secret",
    }
    started(done, tmp_path / "begun", AFTER_SFT)
    store = Store(place["FUSE_STORE"], tmp_path / "cache", seaweed.options())
    for file in (file for file in (tmp_path / "begun" / "store").rglob("*") if file.is_file()):
        store.blobs.put_file(file, file.relative_to(tmp_path / "begun" / "store").as_posix())
    answer = fuse(tmp_path / "space", "run", str(recipe), **server, **place)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    again = fuse(tmp_path / "other", "run", str(recipe), **server, **place)
    assert again.returncode == 0 and "nothing to do" in again.stdout
    for address, files in contents(reference).items():
        stored = store.manifest(*address.split("/"))
        assert stored and [(entry.name, entry.sha256) for entry in stored.files if entry.name != CLOCKED] == files
