"""An examination: which models are evaluated on which suites, by which judge, and what a target must not lose. Values only.

Its first model is the one that the others are compared with.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from flows.config import collectives
from flows.config.collectives import Collective, LowestPerplexity, Mixture, Pairwise
from flows.config.loading import apply, read_toml
from flows.config.messages import describe
from flows.config.recipe import Recipe, Reward, Section
from flows.config.suites import NAME, AnySuite, Judge, Judged, name_of
from infra.errors import BadInput
from tasks.evaluation.judged.given_answers import Outputs
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.models.stage import Folder, Hub, TinyGenerator
from tasks.responses.engines import AnyLocal, Transformers
from tasks.stage import Seed


class OfRecipe(Section):
    """A model that a recipe makes or fuses, by its name there."""

    kind: Literal["recipe"]
    recipe: str
    of: str = Field("WRPO", description="target, SFT, WRPO or a source")
    set: tuple[str, ...] = Field((), description="overrides of the recipe, as --set takes them")


class BestByReward(collectives.BestByReward):
    """By a reward model of the examination's own."""

    reward: Reward


class Examined(Section):
    name: str = Field(pattern=NAME)
    model: Annotated[
        TinyGenerator | Folder | Hub | OfRecipe | Outputs | BestByReward | LowestPerplexity | Pairwise | Mixture,
        Field(discriminator="kind"),
    ]


class JudgeThere(Judge):
    """And where it is."""

    how: JudgingHow = JudgingHow()


class Gate(Section):
    """Suites on which the last model must not have lost to the first one, or it is not promoted."""

    suites: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(0.0, ge=0, description="points that may be lost even beyond noise")


class Examination(Section):
    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: Seed
    models: tuple[Examined, ...] = Field(min_length=1)
    suites: tuple[AnySuite, ...] = Field(min_length=1)
    judge: JudgeThere | None = None
    gate: Gate | None = None
    confidence: float = Field(0.95, gt=0.5, lt=1)
    sampling: AnyLocal = Transformers()

    @model_validator(mode="after")
    def consistent(self) -> "Examination":
        for field, names in (("models", [one.name for one in self.models]), ("suites", [*map(name_of, self.suites)])):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{field}: the name {twice[0]!r} is taken")
        if self.judge is None and any(isinstance(suite, Judged) for suite in self.suites):
            raise ValueError("judge: is missing, and a suite needs one")
        self.refuse_turns_that_nobody_takes()
        if self.gate and len(self.models) < 2:
            raise ValueError(
                "gate: needs two models, the one that must not be lost to and the candidate, which is the last"
            )
        if self.gate and (unknown := set(self.gate.suites) - {name_of(suite) for suite in self.suites}):
            raise ValueError(f"gate.suites: there is no suite {min(unknown)!r}")
        return self

    def refuse_turns_that_nobody_takes(self) -> None:
        asked = {suite.suite for suite in self.suites}
        for place, one in enumerate(self.models):
            if isinstance(one.model, Outputs) and asked & {"checked", "mt-bench", "lm-eval", "livebench"}:
                raise ValueError(
                    f"models.{one.name}: outputs are answers to one judged turn, and a suite asks for more"
                )
            if isinstance(one.model, Collective):
                if asked & {"mt-bench", "lm-eval"}:
                    raise ValueError(
                        f"models.{one.name}: can choose an answer, but mt-bench and lm-eval ask for a model"
                    )
                before = {other.name: other.model for other in self.models[:place]}
                collectives.refuse(f"models.{one.name}", one.model, before, models_of(before), self.judge)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.models)


def models_of(named: dict[str, object]) -> set[str]:
    """Those that can be asked: not the ones of which only answers are there."""
    return {name for name, model in named.items() if not isinstance(model, Outputs | Collective)}


def of_recipe(recipe: Recipe, names: Sequence[str]) -> Examination:
    """What a recipe's own evaluation says of suites, as the examination of its models."""
    asked, judge = recipe.evaluation, recipe.evaluation.open_judge
    return Examination(
        name=recipe.name,
        seed=asked.seed,
        models=tuple(Examined(name=name, model=OfRecipe(kind="recipe", recipe=recipe.name, of=name)) for name in names),
        suites=asked.suites,
        judge=JudgeThere(**dict(judge), how=recipe.how.judging) if judge else None,
        confidence=asked.confidence,
        sampling=recipe.how.sampling,
    )


def load_examination(name: str, overrides: Sequence[str] = ()) -> Examination:
    file = Path(name)
    if not file.is_file():
        raise BadInput(f"examination: there is no file {name!r:.80}")
    values = read_toml(file)
    for override in overrides:
        apply(values, override)
    try:
        return Examination.model_validate(values)
    except ValidationError as problem:
        raise BadInput(f"{file}: {describe(problem, Examination)}") from problem
