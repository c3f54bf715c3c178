"""Readers of an artifact and of a pool while `fuse gc --delete` removes them: each read gives the whole or a clear error.

`python -m tests.attacks.reader_beside_gc [file | s3] [ROUNDS]`
"""

import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from flows.upkeep.garbage import collect_garbage
from infra.errors import CorruptArtifact
from infra.store import Store
from tests.attacks.places import seaweed
from tests.infra.test_store import draft, folder_of

fork = multiprocessing.get_context("fork")
FILES = {f"{n}": b"%d" % n * 20_000 for n in range(6)}


def read(url: str, options: dict, cache: Path, answers, ended) -> None:
    """As a step does that found its input a moment ago, each time on a machine with an empty cache."""
    seen, number = Counter(), 0
    while not ended.is_set():
        number += 1
        store = Store(url, cache / f"{number}", options)
        if not (found := store.manifest("wrpo", "ab" * 20)):
            seen["absent"] += 1
            time.sleep(0.005)
            continue
        try:
            folder = store.fetch(found)
            whole = all((folder / name).read_bytes() == data for name, data in FILES.items())
            seen["whole" if whole else "TORN"] += 1
        except CorruptArtifact as problem:
            seen["refused: missing" if "missing" in str(problem) else f"refused: {problem}"] += 1
        except FileNotFoundError:  # a file store's links lead to files that are gone
            seen["gone while it was read"] += 1
    answers.put(seen)


def main(kind: str = "file", rounds: str = "40") -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, options = stack.enter_context(seaweed(folder)) if kind == "s3" else (str(folder / "store"), {})
        store, made = Store(url, folder / "writer", options), folder_of(folder / "out", FILES)
        answers, ended = fork.Queue(), fork.Event()
        readers = [
            fork.Process(target=read, args=(url, options, folder / f"reader-{n}", answers, ended)) for n in range(3)
        ]
        for reader in readers:
            reader.start()
        for _ in range(int(rounds)):
            store.publish(made, draft("ab" * 20, stage="wrpo"))
            time.sleep(0.05)
            assert [item.address for item in collect_garbage(store, [], days=0, delete=True)] == [f"wrpo/{'ab' * 20}"]
        ended.set()
        total = sum((answers.get(timeout=600) for _ in readers), Counter())
        for reader in readers:
            reader.join()
        print(dict(total))
        assert not total["TORN"] and total["whole"] and set(total) <= {
            "whole", "absent", "refused: missing", "gone while it was read",
        }  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
