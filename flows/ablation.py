"""A matrix: many variants of one base recipe. Each variant has a few overrides and a hypothesis.

Each variant is a complete recipe, so a stage that two variants share has one address and runs once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from flows.config.loading import apply_override, read_recipe_values, read_toml, validate_recipe
from flows.config.matrix import FULL, Matrix, Variant, find_matrix_file, override_values
from flows.config.messages import describe_errors
from flows.config.recipe import Recipe
from flows.fusion import fusion
from flows.suites.comparisons import reports_and_comparisons
from infra.errors import BadInput
from tasks.stage import Step, lineage


@dataclass(frozen=True)
class VariantRun:
    """A variant with its recipe and the chain of stages of that recipe."""

    variant: Variant
    recipe: Recipe

    @cached_property
    def last(self) -> Step:
        return fusion(self.recipe)

    @property
    def evaluation(self) -> Step:
        return self.last.inputs["evaluation"][0]


def load_matrix(name: str, base: str | None = None, overrides: Sequence[str] = ()) -> tuple[Matrix, list[VariantRun]]:
    """The matrix, and its base and variants as runs. `base` replaces the base recipe, `overrides` change it."""
    file = find_matrix_file(name)
    try:
        matrix = Matrix.model_validate(read_toml(file))
    except ValidationError as problem:
        raise BadInput(f"{file}: {describe_errors(problem, Matrix)}") from problem
    matrix = matrix.model_copy(update={"base": base or matrix.base})
    values = override_values(
        read_recipe_values(matrix.base), Variant(name=FULL, hypothesis="the base", set=matrix.set), str(file)
    )
    for override in overrides:
        apply_override(values, override)
    full = Variant(name=FULL, hypothesis="the base recipe", expects="same")
    return matrix, [one_run(matrix, values, variant, str(file)) for variant in (full, *matrix.all())]


def one_run(matrix: Matrix, base: dict, variant: Variant, origin: str) -> VariantRun:
    where = f"{origin}: variant {variant.name}"
    values = override_values(base, variant, where)
    values["name"] = f"{matrix.name}.{variant.name}"
    return VariantRun(variant, validate_recipe(values, where))


def choose_variants(runs: list[VariantRun], only: Sequence[str]) -> list[VariantRun]:
    """The base and the variants of these names; all variants if `only` is empty."""
    if unknown := set(only) - {run.variant.name for run in runs}:
        raise BadInput(f"--only {min(unknown)}: there is no such variant")
    return [run for run in runs if not only or run.variant.name in {FULL, *only}]


def list_goals(runs: Sequence[VariantRun]) -> list[Step]:
    """The last steps that the runs need, those of the base first."""
    return reports_and_comparisons({run.recipe.name: run.last for run in runs})


def count_steps(runs: Sequence[VariantRun]) -> tuple[int, int]:
    """The number of steps if every variant ran separately, and the number of distinct steps."""
    separate = sum(len(lineage(run.last)) for run in runs)
    return separate, len({step.address for last in list_goals(runs) for step in lineage(last)})
