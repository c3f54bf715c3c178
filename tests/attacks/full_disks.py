"""A disk that fills while artifacts, parts and checkpoints are fetched and while they are published: nothing half stays.

As root: `python -m tests.attacks.full_disks`
"""

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from infra.checkpoints import StoredCheckpoints
from infra.errors import FULL
from infra.store import Store
from tests.attacks.places import seaweed
from tests.infra.test_store import draft, folder_of

MEGABYTE = 2**20


@contextmanager
def disk(place: Path, size: int):
    place.mkdir()
    sized = lambda how, size: ["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(place)]
    subprocess.run(sized("", size), check=True)
    try:
        yield lambda size: subprocess.run(sized("remount,", size), check=True)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def refused(work) -> str:
    try:
        work()
    except OSError as problem:
        assert problem.errno in FULL, problem
        return f"{problem}"
    raise AssertionError("there was room")


def files(folder: Path) -> list[str]:
    return sorted(f"{path.relative_to(folder)} {path.stat().st_size}" for path in folder.rglob("*") if path.is_file())


def main() -> None:
    with tempfile.TemporaryDirectory() as name, seaweed(Path(name)) as (url, options):
        folder = Path(name)
        made = folder_of(folder / "out", {"a": b"a" * 3 * MEGABYTE, "b": b"b" * 100})
        part = folder_of(folder / "rows", {"part": b"p" * 3 * MEGABYTE}) / "part"
        remote = Store(url, folder / "writer", options)
        manifest = remote.publish(made, draft())
        entry = remote.append("rows/aa", part, 1)
        StoredCheckpoints(remote.blobs, "wrpo/aa").keep(made, "000000100")
        with disk(folder / "small", MEGABYTE) as resize:
            store = Store(url, folder / "small" / "cache", options)
            for work in (lambda: store.fetch(manifest), lambda: store.fetch_part(entry)):
                print("fetching:", refused(work))
                assert files(folder / "small") == [], files(folder / "small")
            kept = StoredCheckpoints(store.blobs, "wrpo/aa")
            print("fetching a checkpoint:", refused(lambda: kept.fetch("000000100", folder / "small" / "checkpoint")))
            resize(12 * MEGABYTE)
            assert (store.fetch(manifest) / "a").read_bytes() == (made / "a").read_bytes()
            assert store.fetch_part(entry).stat().st_size == 3 * MEGABYTE
            kept.fetch("000000100", folder / "small" / "checkpoint")
            print("with room all three are fetched, whole")
        with disk(folder / "store", MEGABYTE) as resize:
            local = Store(str(folder / "store" / "s"), folder / "cache")
            writes = {
                "publishing": lambda: local.publish(made, draft()),
                "a part": lambda: local.append("rows/aa", part, 1),
                "a checkpoint": lambda: StoredCheckpoints(local.blobs, "wrpo/aa").keep(made, "000000100"),
            }
            for name, write in writes.items():
                print(f"{name}: {refused(write)}")
                left = [one for one in files(folder / "store") if "lock" not in one]
                assert not any("draft" in one or "MANIFEST" in one or "00100.json" in one for one in left), left
            assert local.manifest("score_responses", "abc123") is None and local.parts("rows/aa") == []
            resize(12 * MEGABYTE)
            for write in writes.values():
                write()
            assert local.verify(local.manifest("score_responses", "abc123")) == []
            assert StoredCheckpoints(local.blobs, "wrpo/aa").problem("000000100") is None
            print("with room all three are written, whole")


if __name__ == "__main__":
    main()
