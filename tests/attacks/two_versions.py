"""An older version of the code and this one on one store, in turns, killed, and at the same time: one result, made once.

`python -m tests.attacks.two_versions COMMIT`; the older one runs from a work tree of its own.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from tests.chaos.chain import Diary
from tests.chaos.kills import Attack
attack = Attack(sys.argv[1], Path(sys.argv[2]))
attack._run(int(sys.argv[3]))
"""


def run(code: Path, store: Path, folder: Path, dies_at: int = 0) -> subprocess.Popen:
    words = [sys.executable, "-c", RUN, str(store), str(folder), str(dies_at)]
    own = {"PYTHONPATH": str(code), "FUSE_WORKSPACE": str(folder / "workspace"), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(words, cwd=code, env=os.environ | own)


def made(store: Path) -> dict[str, str]:
    from infra.store import Store
    from tests.chaos.kills import STEPS

    reader = Store(str(store), store.parent / "reader")
    found = {step.address: reader.manifest(*step.address.split("/")) for step in STEPS}
    assert all(found.values()), [address for address, manifest in found.items() if manifest is None]
    assert all(reader.verify(manifest) == [] for manifest in found.values())
    return {address: manifest.content for address, manifest in found.items()}


def main(commit: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, old = Path(name), Path(name) / "old"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--detach", old, commit], check=True, capture_output=True)
        try:
            results = []
            for label, first, second in (("old, new", old, ROOT), ("new, old", ROOT, old)):
                for dies_at in (8, 20, 45, 70):
                    store = folder / f"{label}-{dies_at}" / "store"
                    codes = [run(first, store, store.parent, dies_at).wait(), run(second, store, store.parent).wait()]
                    assert codes == [-9, 0], codes
                    results.append(made(store))
                store = folder / f"{label}-whole" / "store"
                assert [run(code, store, store.parent).wait() for code in (first, second)] == [0, 0]
                diary = (store.parent / "diary").read_text().splitlines()
                assert len([line for line in diary if line.startswith("done")]) == len(made(store)), "made twice"
                results.append(made(store))
                print(f"{label}: killed at four points and finished by the other; whole, then found by the other")
            store = folder / "together" / "store"
            both = [run(code, store, store.parent) for code in (old, ROOT) * 3]
            assert [one.wait() for one in both] == [0] * 6
            diary = (store.parent / "diary").read_text().splitlines()
            assert len([line for line in diary if line.startswith("done")]) == len(made(store)), "made twice"
            results.append(made(store))
            assert all(one == results[0] for one in results)
            print(
                f"three of each at once: {len(results[0])} artifacts, each made once; all {len(results)} stores alike"
            )
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", old], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
