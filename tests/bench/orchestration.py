"""What orchestration costs: `python -m tests.bench.orchestration`. Minutes; on a busy machine the figures say little.

Starts a stack of its own, runs the small recipe once, then only its late stages, which follow one another: once in the
flow, once on work pools. A stage's overhead is its task's time less its program's, which waits for nothing here. Then
runs with everything in place: of one source, of ten, and of ten with a jury.
"""

import sys
import tempfile
from datetime import datetime
from pathlib import Path

from flows.config.loading import load
from flows.fusion import fusion
from infra.seaweed import free_ports
from infra.store import Store
from tasks.stage import Step, lineage
from tests.chain.small import write_recipe
from tests.e2e.home import Home
from tests.workplace import as_made

LATE = ("WRPO", "evaluation · answers of WRPO", "evaluation · judging")
JUROR = '\n[[jury]]\nname = "{0}"\nmodel = {{ kind = "tiny-reward", hidden = 16, layers = 2, steps = {0} }}\n'
JURY = "".join(JUROR.format(number) for number in (3, 4, 5))
POOLS = {"sampling": "gpu-sample", "scoring": "gpu-score", "sft": "gpu-train", "wrpo": "gpu-train"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ui, s3 = free_ports(2)
        workspace = Path(folder) / "home"
        home = Home(workspace, {"FUSE_WORKSPACE": str(workspace), "FUSE_UI_PORT": str(ui), "FUSE_S3_PORT": str(s3)})
        try:
            report(home, Path(folder))
        finally:
            home.fuse("down")


def report(home: Home, folder: Path) -> None:
    answer = home.fuse("up")
    if answer.returncode:
        sys.exit(answer.stderr)
    recipe = str(write_recipe(folder, sources=1))
    run(home, recipe, pools={})
    for name, pools, beta in (("in the flow", {}, 0.2), ("on work pools", POOLS, 0.3)):
        overheads = late_stages(home, recipe, pools, beta)
        print(name, *(f"{label} {seconds:.1f} s" for label, seconds in overheads.items()), sep="; ", flush=True)
    print(f"everything in place, 1 source: {run(home, recipe, pools=POOLS):.1f} s", flush=True)
    many = write_recipe(folder, sources=10)
    for jury in ("", JURY):
        many.write_text(many.read_text() + jury)
        last = fusion(load(str(many)))
        pretend(home.store, last, fusion(load(recipe)), folder)
        seconds = run(home, str(many), pools=POOLS)
        print(
            f"everything in place, 10 sources{' x a jury of 3' * bool(jury)}, {len(lineage(last))} steps: {seconds:.1f} s"
        )


def run(home: Home, recipe: str, **parameters) -> float:
    """From the request to the end, in seconds."""
    flow_run = home.start("fuse/demo", recipe=recipe, **parameters)
    if home.finish(flow_run) != ["Completed"]:
        sys.exit(home.story())
    ended = home.call("GET", f"/flow_runs/{flow_run}")
    return moment(ended["end_time"]) - moment(ended["created"])


def late_stages(home: Home, recipe: str, pools: dict, beta: float) -> dict[str, float]:
    flow_run = home.start("fuse/demo", recipe=recipe, beta=beta, pools=pools)
    if home.finish(flow_run) != ["Completed"]:
        sys.exit(home.story())
    steps = {step.label: step for step in lineage(fusion(load(recipe, [f"wrpo.beta={beta}"])))}
    runs = home.call("POST", "/task_runs/filter", task_runs={"flow_run_id": {"any_": [flow_run]}}, limit=200)
    return {
        one["name"]: moment(one["end_time"]) - moment(one["start_time"]) - program(home.store, steps[one["name"]])
        for one in runs
        if one["name"] in LATE
    }


def program(store: Store, step: Step) -> float:
    """None ran where every row was there already, as the judge's scores of texts that it had seen."""
    return float(store.manifest(*step.address.split("/")).counts.get("program_seconds", 0.0))


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def pretend(store: Store, last: Step, done: Step, folder: Path) -> None:
    """Manifests for every step of a chain, with the report of another one: nobody reads the others' files."""
    report = store.fetch(store.manifest(*done.address.split("/")))
    (empty := folder / "empty").mkdir(exist_ok=True)
    (empty / "nothing").write_text("nothing")
    for step in lineage(last):
        store.publish(report if step is last else empty, as_made(step))


if __name__ == "__main__":
    main()
