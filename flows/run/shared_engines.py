"""Finds sampling steps that one program can serve: the same model and engine settings, so its weights are loaded once.

The first such step samples for the others too. It waits for their inputs, and they wait for its end; then they find their
rows in place. No address changes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tasks.models.stage import Existing
from tasks.responses.engines import Local
from tasks.responses.stage import sample_responses
from tasks.stage import Step, lineage

if TYPE_CHECKING:
    from flows.plan import Planned


def share_engines(planned: Sequence["Planned"]) -> None:
    """Notes in the first of several steps that can share an engine the others, and in these the first: the one that the
    most steps depend on, one after the other."""
    running = {entry.step.address for entry in planned if entry.runs}
    firsts: list[Planned] = []
    for entry in sorted(planned, key=lambda entry: -entry.urgency):
        if not (entry.runs and loads_weights(entry.step)):
            continue
        for first in firsts:
            if same_engine(first.step, entry.step) and not waits_long(entry.step, first.step, running):
                first.beside.append(entry.step)
                entry.after = first.step.address
                entry.reasons.append(f"in the same engine as {first.step.label}")
                break
        else:
            firsts.append(entry)


def loads_weights(step: Step) -> bool:
    """Whether the step starts a program that loads the model."""
    return (
        step.stage is sample_responses
        and isinstance(step.how, Local)
        and not isinstance(step.inputs["model"][0].what, Existing)
    )


def same_engine(one: Step, other: Step) -> bool:
    model = lambda step: step.inputs["model"][0].address
    return model(one) == model(other) and one.how == other.how


def waits_long(step: Step, first: Step, running: set[str]) -> bool:
    """Whether `step` needs a step that `first` does not need, and that is no quick one: such as `first` itself, another
    sampling or a training. `first` may wait for quick steps only."""
    known = {each.address for each in lineage(first)[:-1]}
    new = (each for each in lineage(step)[:-1] if each.address in running and each.address not in known)
    return any(each.stage.rows is not None or each.gpus > 0 for each in new)


def in_order(planned: Sequence["Planned"]) -> list["Planned"]:
    """The steps so that each comes after all that it waits for."""
    entries = {entry.step.address: entry for entry in planned}
    seen: dict[str, Planned] = {}

    def visit(entry: "Planned") -> None:
        for address in awaited(entry):
            if address in entries and address not in seen:
                visit(entries[address])
        seen.setdefault(entry.step.address, entry)

    for entry in planned:
        visit(entry)
    return list(seen.values())


def awaited(entry: "Planned") -> Iterator[str]:
    """The addresses of the steps that must be in the store before this one starts."""
    for step in (entry.step, *entry.beside):
        yield from (item.address for items in step.inputs.values() for item in items)
    if entry.after:
        yield entry.after
