"""A matrix: many variants of one base recipe. Each variant has a few overrides and a hypothesis.

Each variant is a complete recipe, so a stage that two variants share has one address and runs once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from flows.config.loading import apply, read_toml, validated, written
from flows.config.matrix import FULL, Matrix, Variant, find, overridden
from flows.config.messages import describe
from flows.config.recipe import Recipe
from flows.fusion import fusion
from flows.suites.comparisons import goals
from infra.errors import BadInput
from tasks.stage import Step, lineage


@dataclass(frozen=True)
class Run:
    """A variant with its recipe and the chain of stages of that recipe."""

    variant: Variant
    recipe: Recipe

    @cached_property
    def last(self) -> Step:
        return fusion(self.recipe)

    @property
    def evaluation(self) -> Step:
        return self.last.inputs["evaluation"][0]


def load_matrix(name: str, base: str | None = None, overrides: Sequence[str] = ()) -> tuple[Matrix, list[Run]]:
    """The matrix, and its base and variants as runs. `base` replaces the base recipe, `overrides` change it."""
    file = find(name)
    try:
        matrix = Matrix.model_validate(read_toml(file))
    except ValidationError as problem:
        raise BadInput(f"{file}: {describe(problem, Matrix)}") from problem
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


def chosen(runs: list[Run], only: Sequence[str]) -> list[Run]:
    """The base and the variants of these names; all variants if `only` is empty."""
    if unknown := set(only) - {run.variant.name for run in runs}:
        raise BadInput(f"--only {min(unknown)}: there is no such variant")
    return [run for run in runs if not only or run.variant.name in {FULL, *only}]


def wanted(runs: Sequence[Run]) -> list[Step]:
    """The last steps that the runs need, those of the base first."""
    return goals({run.recipe.name: run.last for run in runs})


def stages(runs: Sequence[Run]) -> tuple[int, int]:
    """The number of stages if every variant ran separately, and the number of distinct stages."""
    separate = sum(len(lineage(run.last)) for run in runs)
    return separate, len({step.address for last in wanted(runs) for step in lineage(last)})
