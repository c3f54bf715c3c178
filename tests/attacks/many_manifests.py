"""A store with 50,000 artifacts: what a plan, a look of the housekeeping, a listing and a prefix search cost.

`python -m tests.attacks.many_manifests [FOLDER | s3] [COUNT]`
"""

import hashlib
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.plan import plan_chain
from flows.upkeep.garbage import collect_garbage
from flows.workspace import find_artifact
from infra.store import Store
from tests.attacks.places import seaweed
from tests.infra.test_store import draft

COUNT = 50_000


def timed(name: str, work) -> object:
    began = time.monotonic()
    found = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {time.monotonic() - began:.1f} s, peak {peak:.0f} MB", flush=True)
    return found


def main(kind: str = "file", count: str = f"{COUNT}") -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, options = stack.enter_context(seaweed(folder)) if kind == "s3" else (str(folder / "store"), {})
        store, last = Store(url, folder / "cache", options), fusion(load_recipe("demo"))
        prints = [hashlib.sha256(b"%d" % number).hexdigest()[:40] for number in range(int(count))]

        def make(fingerprint: str) -> None:
            raw = draft(fingerprint, stage="wrpo").render()
            if kind == "s3":
                store.blobs.create(f"wrpo/{fingerprint}/MANIFEST.json", raw)
            else:  # without the flush of every file, which is not what is measured
                (place := folder / "store" / "wrpo" / fingerprint).mkdir(parents=True)
                (place / "MANIFEST.json").write_bytes(raw)

        with ThreadPoolExecutor(32) as threads:
            timed(f"{count} manifests written", lambda: list(threads.map(make, prints)))
        steps = timed("plan of the demo", lambda: plan_chain(last, store))
        assert steps
        found = timed("find by a fingerprint's beginning", lambda: find_artifact(f"wrpo/{prints[7][:12]}", store))
        assert found.fingerprint == prints[7]
        newest = timed("the newest 20 of a stage", lambda: store.manifests("wrpo", newest=20))
        assert len(newest) == 20
        listed = timed("gc, a look", lambda: collect_garbage(store, [last], days=0, delete=False))
        assert len(listed) == int(count)
        everything = timed("all manifests read", lambda: store.manifests("wrpo"))
        assert len(everything) == int(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
