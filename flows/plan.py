"""What a run would do, before it does it: per step found, to do or extends, and for what is new the field that made it so.

Asks the store and runs nothing: neither Prefect nor torch is loaded here.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from infra.errors import CorruptArtifact
from infra.manifest import FileEntry, Manifest
from infra.store import REQUESTS, Store
from tasks.stage import Step, lineage

COMPARED = 200  # of a stage, the artifacts that a new one is compared with


@dataclass
class Planned:
    """One step of a plan."""

    step: Step
    state: str  # found | to do | extends | not needed
    manifest: Manifest | None = None
    reasons: list[str] = field(default_factory=list)
    urgency: int = 0  # how many steps follow on it, one after the other

    @property
    def runs(self) -> bool:
        return self.state in ("to do", "extends")


def plan(last: Step, store: Store) -> list[Planned]:
    """Every step of the chain with its state, inputs before their users."""
    return plan_all([last], store)


def plan_all(lasts: Sequence[Step], store: Store) -> list[Planned]:
    """The same of several chains; a step that they share stands there once."""
    steps = list({step.address: step for last in lasts for step in lineage(last)}.values())
    manifests = {step.address: store.manifest(step.stage.name, step.fingerprint) for step in steps}
    found = {address for address, manifest in manifests.items() if manifest}
    needed = {address for last in lasts for address in needed_addresses(last, found)}
    known: dict[str, list[Manifest]] = {}
    planned: dict[str, Planned] = {}
    follow = followers(steps)
    for step in steps:
        if manifest := manifests[step.address]:
            planned[step.address] = Planned(step, "found", manifest)
        elif step.address not in needed:
            planned[step.address] = Planned(step, "not needed")
        else:
            known.setdefault(step.stage.name, store.manifests(step.stage.name, newest=COMPARED))
            held = sum(entry.rows for entry in store.parts(step.pool)) if step.pool else 0
            reasons = [f"{held:,} rows in place"] if held else []
            reasons += why_new(step, known[step.stage.name], planned)
            state = "extends" if held else "to do"
            planned[step.address] = Planned(step, state, None, reasons, follow[step.address])
    return list(planned.values())


def followers(steps: Sequence[Step]) -> dict[str, int]:
    """Of each address, how many steps wait for it, one after the other. Inputs come before their users in `steps`."""
    follow = {step.address: 0 for step in steps}
    for step in reversed(steps):
        for item in (item for items in step.inputs.values() for item in items):
            follow[item.address] = max(follow[item.address], follow[step.address] + 1)
    return follow


def needed_addresses(last: Step, found: set[str]) -> set[str]:
    """What is missing and read by something missing: a finished step does not need its inputs any more."""
    needed: set[str] = set()
    ahead = [last]
    while ahead:
        step = ahead.pop()
        if step.address not in found and step.address not in needed:
            needed.add(step.address)
            ahead += [item for items in step.inputs.values() for item in items]
    return needed


def why_new(step: Step, known: list[Manifest], planned: dict[str, Planned]) -> list[str]:
    """What sets this step apart from the nearest one that was made before."""
    same_label = [manifest for manifest in known if manifest.label == step.label]
    if not same_label:
        return ["first of its kind" if not known else f"no {step.label!r} was made before"]
    nearest = min(
        sorted(same_label, key=lambda manifest: manifest.started, reverse=True),
        key=lambda manifest: len(differences(step, manifest, planned)),
    )
    return differences(step, nearest, planned)


def differences(step: Step, manifest: Manifest, planned: dict[str, Planned]) -> list[str]:
    found = fields("", manifest.what, step.what.model_dump(mode="json"))
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
    found += [f"another {label}" for label in dict.fromkeys(other)]
    return found + ([f"follows {', '.join(dict.fromkeys(new))}"] if new else [])


def fields(path: str, before: Any, after: Any) -> list[str]:
    """The leaves in which two plain values differ, as `beta 0.01 → 0.1`."""
    if before == after:
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        return [
            line for name in names for line in fields(f"{path}.{name}".lstrip("."), before.get(name), after.get(name))
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for place, (one, other) in pairs for line in fields(f"{path}.{place}", one, other)]
    return [f"{path} {shown(before)} → {shown(after)}"]


def shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def verify_inputs(planned: list[Planned], store: Store) -> list[str]:
    """What is wrong with the found artifacts that a step still to be done will read: checked before anything heavy starts."""
    needed = {item.address for one in planned if one.runs for items in one.step.inputs.values() for item in items}
    problems = [
        problem
        for one in planned
        if one.manifest and one.step.address in needed
        for problem in store.verify(one.manifest)
    ]
    return problems + [
        problem for one in planned if one.state == "extends" for problem in bad_parts(one.step.pool, store)
    ]


def bad_parts(pool: str, store: Store) -> list[str]:
    """What is wrong with the rows that a step will extend."""

    def problem(entry: FileEntry) -> str | None:
        try:
            store.fetch_part(entry)
        except CorruptArtifact as damage:
            return str(damage)
        return None

    with ThreadPoolExecutor(REQUESTS) as threads:
        return [found for found in threads.map(problem, store.parts(pool)) if found]
