"""The addresses of every shipped recipe and matrix variant. Written down, they show when a change would make finished work
unusable: `python -m tests.addresses` writes `addresses.json` again, after a change that is meant to move them."""

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from flows.ablation import load_matrix, wanted
from flows.config import loading, matrix
from flows.config.recipe import slots
from flows.fusion import fusion
from tasks.stage import Step, lineage

KEPT = Path(__file__).with_name("addresses.json")
COMMIT = "0123456789abcdef" * 2 + "01234567"


def fill_slots(name: str, prompts: Path) -> list[str]:
    """Overrides that decide what a shipped recipe leaves open."""
    choices = {"path": prompts, "id": "someone/judge"}  # every other slot is a commit
    open_slots = slots(loading.load(name).model_dump(mode="json"))
    return [f"{field}={choices.get(field.rpartition('.')[2], COMMIT)}" for field in open_slots]


def digest_stages(goals: list[Step]) -> dict[str, str]:
    """For each stage, one digest of the labels, addresses and pools of its steps."""
    found = defaultdict(list)
    for step in {step.address: step for goal in goals for step in lineage(goal)}.values():
        found[step.stage.name].append(f"{step.label} {step.address} {step.pool}")
    return {
        name: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]
        for name, lines in sorted(found.items())
    }


def find_addresses(prompts: Path) -> Iterator[tuple[str, dict[str, str]]]:
    prompts.write_text('{"prompt": "one"}\n')
    for file in sorted(loading.SHIPPED.glob("*.toml")):
        yield file.stem, digest_stages([fusion(loading.load(file.stem, fill_slots(file.stem, prompts)))])
    for file in sorted(matrix.SHIPPED.glob("*.toml")):
        base = load_base(file)
        _, runs = load_matrix(file.stem, overrides=fill_slots(base, prompts))
        whole = [run for run in runs if not slots(run.recipe.model_dump(mode="json"))]
        yield f"matrix {file.stem}, {len(whole)} variants", digest_stages(wanted(whole))


def load_base(file: Path) -> str:
    return loading.read_toml(file)["base"]


def all_addresses() -> dict[str, dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        return dict(find_addresses(Path(folder, "prompts.jsonl")))


if __name__ == "__main__":
    KEPT.write_text(json.dumps(all_addresses(), indent=1) + "\n")
