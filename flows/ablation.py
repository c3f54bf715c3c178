"""A matrix: many variants of one base recipe, each a few overrides and a hypothesis, over one shared set of artifacts.

A variant is a recipe like any other, so a stage that two of them share has one address and runs once.
"""

import copy
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from flows.config.loading import apply, read_toml, section_of, validated, written
from flows.config.messages import describe
from flows.config.recipe import Recipe
from flows.fusion import fusion
from flows.suites.comparisons import FULL, goals
from infra.errors import BadInput
from tasks.stage import Exact, Step, lineage

SHIPPED = Path(__file__).with_name("matrices")
NAME = "^[a-z0-9][a-z0-9._-]{0,30}$"


class Overrides(Exact):
    """What sets variants apart from the base: fields by their dotted paths."""

    hypothesis: str = Field(min_length=1, description="what is expected, said before it is run")
    expects: Literal["better", "worse", "same", "unknown"] = Field("unknown", description="than the base")
    set: dict[str, Any] = Field({}, description="field -> value; a table replaces a section as a whole")
    drop: tuple[str, ...] = Field((), description="fields of the base that are left out")


class Variant(Overrides):
    name: str = Field(pattern=NAME)


class Sweep(Overrides):
    """Variants generated from axes: one for each combination of their values, named by these."""

    name: str = Field(pattern=NAME, description="their names begin so")
    over: dict[str, Annotated[list, Field(min_length=1)]] = Field(min_length=1, description="field -> its values")

    def variants(self) -> Iterator[Variant]:
        for values in itertools.product(*self.over.values()):
            name = "-".join([self.name, *(str(value) for value in values)])
            if not re.match(NAME, name):
                raise ValueError(f"sweep {self.name}: its values make the name {name!r}; write such variants out")
            chosen = {**self.set, **dict(zip(self.over, values, strict=True))}
            shared = {"hypothesis": self.hypothesis, "expects": self.expects, "drop": self.drop}
            yield Variant(name=name, set=chosen, **shared)


class Matrix(Exact):
    name: str = Field(pattern=NAME)
    base: str = Field(description="the recipe that all variants start from")
    set: dict[str, Any] = Field({}, description="overrides of the base itself")
    variants: tuple[Variant, ...] = ()
    sweeps: tuple[Sweep, ...] = ()

    @model_validator(mode="after")
    def distinct(self) -> "Matrix":
        names = [FULL, *(variant.name for variant in self.all())]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"variants: the name {twice[0]!r} is taken")
        if len(names) == 1:
            raise ValueError("variants: there are none")
        return self

    def all(self) -> list[Variant]:
        return [*self.variants, *(variant for sweep in self.sweeps for variant in sweep.variants())]


@dataclass(frozen=True)
class Run:
    """A variant as it is run: its recipe, and the chain of that."""

    variant: Variant
    recipe: Recipe

    @cached_property
    def last(self) -> Step:
        return fusion(self.recipe)

    @property
    def evaluation(self) -> Step:
        return self.last.inputs["evaluation"][0]


def load_matrix(name: str, base: str | None = None, overrides: Sequence[str] = ()) -> tuple[Matrix, list[Run]]:
    """The matrix, and its base and variants as runs; `base` and `overrides` replace and change its base recipe."""
    file = find(name)
    try:
        matrix = Matrix.model_validate(read_toml(file))
    except ValidationError as problem:
        raise BadInput(f"{file}: {describe(problem)}") from problem
    matrix = matrix.model_copy(update={"base": base or matrix.base})
    values = overridden(written(matrix.base), Variant(name=FULL, hypothesis="the base", set=matrix.set), str(file))
    for override in overrides:
        apply(values, override)
    full = Variant(name=FULL, hypothesis="the base recipe", expects="same")
    return matrix, [one_run(matrix, values, variant, str(file)) for variant in (full, *matrix.all())]


def one_run(matrix: Matrix, base: dict, variant: Variant, origin: str) -> Run:
    where = f"{origin}: variant {variant.name}"
    values = overridden(base, variant, where)
    values["name"] = f"{matrix.name}.{variant.name}"
    return Run(variant, validated(values, where))


def overridden(base: dict, variant: Variant, origin: str) -> dict:
    values = copy.deepcopy(base)
    for path in variant.drop:
        section, last = section_of(values, path, origin)
        if last not in section:
            raise BadInput(f"{origin}: drop: the base has no {path}")
        del section[last]
    for path, value in variant.set.items():
        section, last = section_of(values, path, origin)
        section[last] = copy.deepcopy(value)
    return values


def find(name: str) -> Path:
    for file in (Path(name), SHIPPED / f"{name}.toml"):
        if file.is_file():
            return file
    shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise BadInput(f"matrix: there is no file {name!r:.80}, and no shipped matrix of that name ({shipped})")


def chosen(runs: list[Run], only: Sequence[str]) -> list[Run]:
    """The base and the variants of these names; none named: all."""
    if unknown := set(only) - {run.variant.name for run in runs}:
        raise BadInput(f"--only {min(unknown)}: there is no such variant")
    return [run for run in runs if not only or run.variant.name in {FULL, *only}]


def wanted(runs: Sequence[Run]) -> list[Step]:
    """What is to be made of these, the base first among them."""
    return goals({run.recipe.name: run.last for run in runs})


def stages(runs: Sequence[Run]) -> tuple[int, int]:
    """How many stages the variants have when each is counted by itself, and how many distinct ones there are to make."""
    alone = sum(len(lineage(run.last)) for run in runs)
    return alone, len({step.address for last in wanted(runs) for step in lineage(last)})
