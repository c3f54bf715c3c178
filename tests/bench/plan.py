"""How good a plan's estimates are: a demo that calibrates, then three recipes of other sizes, each step against its estimate.

`python -m tests.bench.plan [FOLDER]`, on a quiet machine: half an hour. It prints the machine's load, since a busy machine makes
both the calibration and the measurement worthless. Runs that are in the folder are not run again. Goals: actual within 1.5 times
p50 for every step above 5 s, and below p90 in 90% of all steps.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.store import Store
from tests.chain.small import ROOT, environment

LONG, WITHIN, SHARE = 5.0, 1.5, 0.9
SIZES = ["sources.mirror.model.hidden=160", "sources.sorter.model.hidden=160", "sources.roller.model.hidden=160"]
RECIPES = {
    "demo": [],
    "larger models": ["seed=2", *SIZES, "target.hidden=128", "reward.model.hidden=128"],
    "more prompts": ["seed=3", "prompts.count=4000"],
    "more samples": ["seed=4", "sampling.n=10"],
}


def run_recipe(folder: Path, overrides: list[str]) -> None:
    words = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli.main", "run", "demo", *words]
    subprocess.run(command, cwd=ROOT, env=environment(folder), stdout=subprocess.DEVNULL, check=True)


def compare(folder: Path, overrides: list[str]) -> list[tuple[str, float, float, float]]:
    """(label, p50, p90, actual) of each step that the recipe's own run made."""
    last, store = fusion(load_recipe("demo", overrides)), Store(str(folder / "store"), folder / "cache")
    manifest = store.manifest(*last.address.split("/"))
    assert manifest is not None  # the run has made it
    numbers = json.loads((store.fetch(manifest, ["numbers.json"]) / "numbers.json").read_text())
    rows = [(cost["label"], cost["estimate"], cost["seconds"]) for cost in numbers["costs"] if cost["estimate"]]
    return [(label, estimate["p50"], estimate["p90"], seconds) for label, estimate, seconds in rows]


def main(folder: Path) -> int:
    found = []
    for name, overrides in RECIPES.items():
        before = os.getloadavg()[1]
        run_recipe(folder, overrides)
        print(f"{name}: load {before:.1f} before, {os.getloadavg()[1]:.1f} after", flush=True)
        if overrides:
            found += [(name, *row) for row in compare(folder, overrides)]
    print(f"{'recipe':14} {'step':32} {'p50':>7} {'p90':>7} {'actual':>7}  actual / p50")
    for name, label, p50, p90, actual in found:
        marks = "*" * (actual > LONG and not 1 / WITHIN <= actual / p50 <= WITHIN) + "!" * (actual > p90)
        print(f"{name:14} {label:32} {p50:7.1f} {p90:7.1f} {actual:7.1f}  {actual / p50:5.2f} {marks}")
    long = [actual / p50 for *_, p50, _, actual in found if actual > LONG]
    good, below = [1 / WITHIN <= one <= WITHIN for one in long], [actual <= p90 for *_, p90, actual in found]
    print(f"{sum(good)} of {len(long)} steps above {LONG:g} s within a factor of {WITHIN} of p50 (others: *)")
    print(f"{sum(below)} of {len(below)} steps below p90 (others: !)")
    return int(not all(good) or sum(below) < SHARE * len(below))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(Path(place)))
