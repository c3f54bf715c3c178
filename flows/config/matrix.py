"""The fields of a matrix file: variants of one base recipe, each with a few overrides and a hypothesis."""

import copy
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from flows.config.loading import section_of
from infra.errors import BadInput
from tasks.stage import Exact

SHIPPED = Path(__file__).parents[1] / "matrices"
NAME = "^[a-z0-9][a-z0-9._-]{0,30}$"
FULL = "full"  # the name of the base among the variants


class Overrides(Exact):
    """The differences between variants and the base: fields by their dotted paths."""

    hypothesis: str = Field(min_length=1, description="the expected result, written before the run")
    expects: Literal["better", "worse", "same", "unknown"] = Field(
        default="unknown", description="expected result, compared with the base"
    )
    set: dict[str, Any] = Field(default={}, description="field -> value; a table replaces a whole section")
    drop: tuple[str, ...] = Field(default=(), description="fields of the base to leave out")


class Variant(Overrides):
    name: str = Field(pattern=NAME)


class Sweep(Overrides):
    """Variants generated from axes: one for each combination of values. The values become part of their names."""

    name: str = Field(pattern=NAME, description="prefix of the variants' names")
    over: dict[str, Annotated[list, Field(min_length=1)]] = Field(min_length=1, description="field -> list of values")

    def variants(self) -> Iterator[Variant]:
        for values in itertools.product(*self.over.values()):
            name = "-".join([self.name, *(str(value) for value in values)])
            if not re.match(NAME, name):
                raise ValueError(f"sweep {self.name}: {name!r} is not a valid name; write these variants one by one")
            chosen = {**self.set, **dict(zip(self.over, values, strict=True))}
            shared = {"hypothesis": self.hypothesis, "expects": self.expects, "drop": self.drop}
            yield Variant(name=name, set=chosen, **shared)


class Matrix(Exact):
    name: str = Field(pattern=NAME)
    base: str = Field(description="the recipe that all variants start from")
    set: dict[str, Any] = Field(default={}, description="overrides of the base itself")
    variants: tuple[Variant, ...] = ()
    sweeps: tuple[Sweep, ...] = ()

    @model_validator(mode="after")
    def distinct(self) -> "Matrix":
        names = [FULL, *(variant.name for variant in self.all())]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"variants: the name {twice[0]!r} is taken")
        if len(names) == 1:
            raise ValueError("variants: the matrix has no variants")
        return self

    def all(self) -> list[Variant]:
        return [*self.variants, *(variant for sweep in self.sweeps for variant in sweep.variants())]


def override_values(base: dict, variant: Variant, origin: str) -> dict:
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


def find_matrix_file(name: str) -> Path:
    for file in (Path(name), SHIPPED / f"{name}.toml"):
        if file.is_file():
            return file
    shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise BadInput(f"matrix: there is no file {name!r:.80}, and no shipped matrix of that name ({shipped})")
