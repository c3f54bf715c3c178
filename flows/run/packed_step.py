"""A step as small JSON, which a worker on another machine turns into a step again; the fingerprint shows if it is the same."""

from typing import Any, cast, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

from flows import evaluation, fusion
from flows.suites import answers as answering
from flows.suites import chains as suite_chains
from flows.suites import collectives
from infra.errors import BadInput
from tasks.stage import Made, Stage, Step

CHAINS = (fusion, evaluation, suite_chains, answering, collectives)
STAGES = {made.name: made for chain in CHAINS for made in vars(chain).values() if isinstance(made, Stage)}


class PackedStep(BaseModel, frozen=True, extra="forbid"):
    """The work of one stage: its settings, and the addresses of its inputs. The bytes of the inputs are in the store."""

    address: str
    label: str
    what: dict[str, Any]
    how: dict[str, Any]
    inputs: dict[str, list[str]]


def pack_step(step: Step) -> PackedStep:
    return PackedStep(
        address=step.address,
        label=step.label,
        what=step.what.model_dump(mode="json"),
        how=step.how.model_dump(mode="json"),
        inputs={name: [each.address for each in steps] for name, steps in step.inputs.items()},
    )


def unpack_step(packed: PackedStep) -> Step:
    """The step; raises BadInput if its address differs: then the worker has another version of this code than the flow."""
    name = packed.address.partition("/")[0]
    if name not in STAGES:
        raise BadInput(f"stage: this worker's version does not know {name!r}")
    kinds = get_type_hints(STAGES[name].work)
    try:
        what = TypeAdapter(kinds["what"]).validate_python(packed.what)
        how = TypeAdapter(kinds["how"]).validate_python(packed.how) if "how" in kinds else None
    except ValidationError as problem:
        raise BadInput(f"{packed.label}: this worker's version cannot read its settings: {problem}") from problem
    inputs = {name: [Made(address) for address in addresses] for name, addresses in packed.inputs.items()}
    steps = cast("dict[str, list[Step]]", inputs)  # a stage reads only the addresses of its inputs
    step = STAGES[name](packed.label, what=what, how=how, **steps)
    if step.address != packed.address:
        raise BadInput(f"{packed.label}: {packed.address} is {step.address} here: this worker has another version")
    return step
