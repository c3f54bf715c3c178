"""A step as small JSON that a worker elsewhere makes a step of again; the fingerprint says whether it is the same one."""

from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from flows import evaluation, fusion
from flows.suites import answers as answering
from flows.suites import chains as suite_chains
from flows.suites import collectives
from infra.errors import BadInput
from tasks.stage import Made, Stage, Step

CHAINS = (fusion, evaluation, suite_chains, answering, collectives)
STAGES = {made.name: made for chain in CHAINS for made in vars(chain).values() if isinstance(made, Stage)}


class Portable(BaseModel, frozen=True, extra="forbid"):
    """One stage's work: its settings, and its inputs by address. Bytes never travel this way, the store has them."""

    address: str
    label: str
    what: dict[str, Any]
    how: dict[str, Any]
    inputs: dict[str, list[str]]


def pack(step: Step) -> Portable:
    return Portable(
        address=step.address,
        label=step.label,
        what=step.what.model_dump(mode="json"),
        how=step.how.model_dump(mode="json"),
        inputs={name: [each.address for each in steps] for name, steps in step.inputs.items()},
    )


def unpack(packed: Portable) -> Step:
    """BadInput when this code makes another step of it: then the worker has another version than the flow."""
    name = packed.address.partition("/")[0]
    if name not in STAGES:
        raise BadInput(f"stage: this worker's version knows no {name!r}")
    kinds = get_type_hints(STAGES[name].work)
    try:
        what = TypeAdapter(kinds["what"]).validate_python(packed.what)
        how = TypeAdapter(kinds["how"]).validate_python(packed.how) if "how" in kinds else None
    except ValidationError as problem:
        raise BadInput(f"{packed.label}: this worker's version cannot read its settings: {problem}") from problem
    inputs = {name: [Made(address) for address in addresses] for name, addresses in packed.inputs.items()}
    step = STAGES[name](packed.label, what=what, how=how, **inputs)
    if step.address != packed.address:
        raise BadInput(f"{packed.label}: {packed.address} is {step.address} here; this worker has another version")
    return step
