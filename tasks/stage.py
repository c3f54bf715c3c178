"""Stages and steps. A step is a stage with settings and inputs; the hash of its `What` and inputs is its fingerprint.

Calling a stage runs nothing: it returns a Step, whose address is known at once. `flows/fusion.py` builds the chain of
steps from such calls; `flows/plan.py` asks the store which addresses exist; `tasks/execution.py` makes the artifacts.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Exact(BaseModel):
    """Validates strictly: no text becomes a number, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def sequences(cls, values: Any) -> Any:
        """Converts lists to tuples, since TOML and JSON have only lists and frozen values need tuples."""
        if not isinstance(values, dict):
            return values
        return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


class What(Exact):
    """Settings that change the result. They are hashed without the fields that have their default value, so a new field
    with a default keeps old fingerprints. Never change the meaning of a default; raise the stage's version instead."""


class How(Exact):
    """Settings that change only speed or place. They are never hashed."""

    work_pool: str | None = Field(
        default=None,
        description="the Prefect work pool whose workers run the step; if not set: the step runs in the flow's process",
    )
    memory_gb: int = Field(
        default=0, ge=0, description="host memory in GB that a run on a work pool requests; 0: the pool's default"
    )
    shared_memory_gb: int = Field(
        default=0, ge=0, description="size of /dev/shm in GB that a run on a work pool requests; 0: the pool's default"
    )

    @property
    def hosts(self) -> int:
        """The number of runs of the work pool that make the step's rows at the same time."""
        return 1

    @property
    def programs(self) -> int:
        """The number of programs that share the work of one such run."""
        return 1

    @property
    def gpus(self) -> int:
        """The number of GPUs that each of these programs needs."""
        return 0


class SharedHow(How):
    """How of a stage whose rows several programs, and several runs of a work pool, can share."""

    workers: int = Field(
        default=1,
        gt=0,
        description="programs that share the rows; each uses separate GPUs, and as many run at once as there are GPUs",
    )
    shares: int = Field(
        default=1, gt=0, le=64, description="runs of the work pool that make the rows at the same time, a share each"
    )

    @model_validator(mode="after")
    def check_shares(self) -> "SharedHow":
        if self.shares > 1 and self.work_pool is None:
            raise ValueError("shares: more than one share needs a work_pool, whose runs make the shares")
        return self

    @property
    def programs(self) -> int:
        return self.workers

    @property
    def hosts(self) -> int:
        return self.shares


Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Addressed(Protocol):
    """A Step before its run, or its Manifest after the run: both have a fingerprint."""

    @property
    def fingerprint(self) -> str: ...


def to_canonical(value: Any) -> Any:
    """The canonical JSON form of a value, for hashing; raises an error if the value has none."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} has no canonical form")
            return value
        case What():
            kept = {
                name: getattr(value, name)
                for name, info in type(value).model_fields.items()
                if info.is_required() or getattr(value, name) != info.get_default(call_default_factory=True)
            }
            return to_canonical(kept)
        case Mapping():
            return {str(key): to_canonical(value[key]) for key in sorted(value)}
        case list() | tuple():
            return [to_canonical(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form: {value!r}")


def digest(value: Any) -> str:
    text = json.dumps(to_canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Stage:
    """A stage of the method: a title for users, a version that its author raises, and the work function."""

    title: str
    version: str
    work: Callable[..., None]
    rows: Callable[[Any, Mapping[str, tuple[Addressed, ...]]], dict] | None = (
        None  # the settings that identify its rows; None: a stage without rows
    )
    rows_since: str = ""  # the first version whose rows are still valid; empty: this version
    gpus: Callable[[Any, Any], int] = lambda what, how: how.gpus  # number of GPUs for each of its programs

    @property
    def name(self) -> str:
        return re.sub("[^a-z0-9]+", "-", self.title.lower()).strip("-")

    def __call__(
        self, label: str = "", *, what: What, how: How | None = None, **inputs: "Step | Sequence[Step]"
    ) -> "Step":
        given = {name: (steps,) if isinstance(steps, Step) else tuple(steps) for name, steps in inputs.items()}
        return Step(self, label or self.title, what, how or How(), given)


def stage(
    title: str, version: str, rows: Callable | None = None, rows_since: str = "", gpus: Callable = Stage.gpus
) -> Callable[[Callable[..., None]], Stage]:
    return lambda work: Stage(title, version, work, rows, rows_since, gpus)


@dataclass(frozen=True, eq=False)
class Step:
    """One stage with settings and inputs, before its run. The part of the label before ` · ` is the name in the UI."""

    stage: Stage
    label: str
    what: What
    how: How
    inputs: Mapping[str, tuple["Step", ...]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.label.split(" · ")[0]

    @property
    def address(self) -> str:
        return f"{self.stage.name}/{self.fingerprint}"

    @cached_property
    def fingerprint(self) -> str:
        upstream = {name: [step.fingerprint for step in steps] for name, steps in self.inputs.items()}
        return digest({"stage": self.stage.name, "version": self.stage.version, "what": self.what, "inputs": upstream})

    @property
    def gpus(self) -> int:
        """The number of GPUs that each of its programs needs."""
        return self.stage.gpus(self.what, self.how)

    @property
    def machine(self) -> dict[str, int]:
        """The resources that a run of the step needs from its work pool, by the variable names of the pool's template."""
        needed = {
            "gpus": self.gpus * self.how.programs,
            "memory_gb": self.how.memory_gb,
            "shared_memory_gb": self.how.shared_memory_gb,
        }
        return {name: number for name, number in needed.items() if number}

    @property
    def pool(self) -> str | None:
        """The row pool of the step, shared by all steps with the same rows; None for a stage without rows."""
        if self.stage.rows is None:
            return None
        since = self.stage.rows_since or self.stage.version
        inputs = cast("Mapping[str, tuple[Addressed, ...]]", self.inputs)
        return f"{self.stage.name}/{digest({'rows': self.stage.rows(self.what, inputs), 'version': since})}"


@dataclass(frozen=True)
class Made:
    """An input of which only the address is known."""

    address: str

    @property
    def fingerprint(self) -> str:
        return self.address.partition("/")[2]


def lineage(step: Step) -> list[Step]:
    """All steps that `step` needs and `step` itself, each once, inputs first."""
    seen: dict[str, Step] = {}

    def visit(current: Step) -> Iterator[None]:
        for upstream in (item for items in current.inputs.values() for item in items):
            if upstream.address not in seen:
                yield from visit(upstream)
        seen.setdefault(current.address, current)

    list(visit(step))
    return list(seen.values())
