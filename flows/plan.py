"""The plan of a run: the state of every step (found, to do, extends), and for a new step the field that made it new.

Reads the store and runs nothing; loads neither Prefect nor torch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from flows.run.shared_engines import share_engines
from infra.errors import CorruptArtifact
from infra.manifest import FileEntry, Manifest
from infra.store import REQUESTS, Store
from tasks.stage import Step, lineage

COMPARED = 200  # a new step is compared with at most so many artifacts of its stage


@dataclass
class Planned:
    """One step of a plan."""

    step: Step
    state: str  # found | to do | extends | not needed
    manifest: Manifest | None = None
    reasons: list[str] = field(default_factory=list)
    urgency: int = 0  # length of the longest chain of steps that wait for this one
    beside: list[Step] = field(default_factory=list)  # steps whose rows this one's programs make too
    after: str = ""  # address of the step whose programs make this one's rows

    @property
    def runs(self) -> bool:
        return self.state in ("to do", "extends")


def plan_chain(last: Step, store: Store) -> list[Planned]:
    """Every step of the chain with its state, inputs before their users."""
    return plan_all([last], store)


def plan_all(lasts: Sequence[Step], store: Store) -> list[Planned]:
    """Every step of several chains with its state; a step that they share appears once."""
    steps = list({step.address: step for last in lasts for step in lineage(last)}.values())
    manifests = {step.address: store.manifest(step.stage.name, step.fingerprint) for step in steps}
    found = {address for address, manifest in manifests.items() if manifest}
    needed = {address for last in lasts for address in needed_addresses(last, found)}
    known: dict[str, list[Manifest]] = {}
    planned: dict[str, Planned] = {}
    follow = count_followers(steps)
    for step in steps:
        if manifest := manifests[step.address]:
            planned[step.address] = Planned(step, "found", manifest)
        elif step.address not in needed:
            planned[step.address] = Planned(step, "not needed")
        else:
            known.setdefault(step.stage.name, store.manifests(step.stage.name, newest=COMPARED))
            held = sum(cast("int", entry.rows) for entry in store.parts(step.pool)) if step.pool else 0
            reasons = [f"{held:,} rows in place"] if held else []
            reasons += why_new(step, known[step.stage.name], planned)
            state = "extends" if held else "to do"
            planned[step.address] = Planned(step, state, None, reasons, follow[step.address])
    share_engines(list(planned.values()))
    return list(planned.values())


def count_followers(steps: Sequence[Step]) -> dict[str, int]:
    """For each address, the length of the longest chain of steps that wait for it. In `steps`, inputs come before users."""
    follow = {step.address: 0 for step in steps}
    for step in reversed(steps):
        for item in (item for items in step.inputs.values() for item in items):
            follow[item.address] = max(follow[item.address], follow[step.address] + 1)
    return follow


def needed_addresses(last: Step, found: set[str]) -> set[str]:
    """The addresses of missing steps that must run. A finished step does not need its inputs any more."""
    needed: set[str] = set()
    ahead = [last]
    while ahead:
        step = ahead.pop()
        if step.address not in found and step.address not in needed:
            needed.add(step.address)
            ahead += [item for items in step.inputs.values() for item in items]
    return needed


def why_new(step: Step, known: list[Manifest], planned: dict[str, Planned]) -> list[str]:
    """The differences between this step and the most similar stored artifact."""
    same_label = [manifest for manifest in known if manifest.label == step.label]
    if not same_label:
        return ["first of its kind" if not known else f"no {step.label!r} was made before"]
    nearest = min(
        sorted(same_label, key=lambda manifest: manifest.started, reverse=True),
        key=lambda manifest: len(compare_settings(step, manifest, planned)),
    )
    return compare_settings(step, nearest, planned)


def compare_settings(step: Step, manifest: Manifest, planned: dict[str, Planned]) -> list[str]:
    found = compare_values("", manifest.what, step.what.model_dump(mode="json"))
    if manifest.version != step.stage.version:
        found.insert(0, f"version {manifest.version} → {step.stage.version}")
    new, other = [], []
    for name, steps in step.inputs.items():
        before = {reference.fingerprint for reference in manifest.inputs.get(name, [])}
        for item in steps:
            if item.fingerprint not in before:
                (new if planned[item.address].runs else other).append(item.label)
        if len(before) > len(steps):
            found.append(f"{name}: {len(before)} → {len(steps)}")
    found += [f"different input: {label}" for label in dict.fromkeys(other)]
    return found + ([f"new input: {', '.join(dict.fromkeys(new))}"] if new else [])


def compare_values(path: str, before: Any, after: Any) -> list[str]:
    """The leaves in which two plain values differ, for example `beta 0.01 → 0.1`."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return [
            line
            for name in names
            for line in compare_values(f"{path}.{name}".lstrip("."), before.get(name), after.get(name))
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for place, (old, new) in pairs for line in compare_values(f"{path}.{place}", old, new)]
    return [f"{path} {format_value(before)} → {format_value(after)}"]


def format_value(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def verify_inputs(planned: list[Planned], store: Store) -> list[str]:
    """Problems of stored artifacts that the planned steps will read: found before any heavy work starts."""
    needed = {item.address for entry in planned if entry.runs for items in entry.step.inputs.values() for item in items}
    problems = [
        problem
        for entry in planned
        if entry.manifest and entry.step.address in needed
        for problem in store.verify(entry.manifest)
    ]
    return problems + [
        problem
        for entry in planned
        if entry.state == "extends"
        for problem in bad_parts(cast("str", entry.step.pool), store)
    ]


def bad_parts(pool: str, store: Store) -> list[str]:
    """Problems of the stored rows that a step will extend."""

    def problem(entry: FileEntry) -> str | None:
        try:
            store.fetch_part(entry)
        except CorruptArtifact as damage:
            return str(damage)
        return None

    with ThreadPoolExecutor(REQUESTS) as threads:
        return [found for found in threads.map(problem, store.parts(pool)) if found]
