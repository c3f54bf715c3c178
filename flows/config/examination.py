"""An examination: which models are evaluated on which suites, by which judge, and the gate for promotion. Values only.

The other models are compared with its first model.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from flows.config import collectives
from flows.config.collectives import Collective, LowestPerplexity, Mixture, PairwiseRanking
from flows.config.loading import apply_override, read_toml
from flows.config.messages import describe_errors
from flows.config.recipe import Recipe, Reward, Section
from flows.config.suites import NAME, AnySuite, Judge, Judged, suite_name
from infra.errors import BadInput
from tasks.evaluation.judged.given_answers import Outputs
from tasks.evaluation.judged.judgements import JudgingHow
from tasks.models.stage import HubModel, ModelFolder, TinyGenerator
from tasks.responses.engines import AnyEngine, AnyLocal, Transformers, choose_engine
from tasks.stage import Seed

SAMPLED = {"checked", "mt-bench", "lm-eval", "livebench", "livecodebench", "livebench-coding", "evalplus"}


class RecipeModel(Section):
    """A model of a recipe, by its name in the recipe."""

    kind: Literal["recipe"]
    recipe: str
    of: str = Field(default="WRPO", description="target, SFT, WRPO or a source")
    set: tuple[str, ...] = Field(default=(), description="overrides of the recipe, in the form of --set")


class ExaminedBestByReward(collectives.BestByRewardAnswer):
    """Also names the reward model; in a recipe's evaluation it is the recipe's."""

    reward: Reward


class Examined(Section):
    name: str = Field(pattern=NAME)
    model: Annotated[
        TinyGenerator
        | ModelFolder
        | HubModel
        | RecipeModel
        | Outputs
        | ExaminedBestByReward
        | LowestPerplexity
        | PairwiseRanking
        | Mixture,
        Field(discriminator="kind"),
    ]


class JudgeEndpoint(Judge):
    """A judge and the settings of its endpoint."""

    how: JudgingHow = JudgingHow()


class Gate(Section):
    """Suites on which the last model must not lose to the first one; otherwise it is not promoted."""

    suites: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(default=0.0, ge=0, description="allowed loss in points, even if it is larger than noise")


class Examination(Section):
    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: Seed
    models: tuple[Examined, ...] = Field(min_length=1)
    suites: tuple[AnySuite, ...] = Field(min_length=1)
    judge: JudgeEndpoint | None = None
    gate: Gate | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    sampling: AnyLocal = Transformers()
    engines: dict[str, AnyEngine] = Field(default={}, description="engines of single models, by the model's name")

    def engine(self, name: str) -> AnyEngine:
        return choose_engine(name, self.engines, self.sampling)

    @model_validator(mode="after")
    def consistent(self) -> "Examination":
        for field, names in (("models", self.names), ("suites", [*map(suite_name, self.suites)])):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{field}: the name {twice[0]!r} is taken")
        if self.judge is None and any(isinstance(suite, Judged) for suite in self.suites):
            raise ValueError("judge: is missing, and a suite needs one")
        if unknown := set(self.engines) - set(self.names):
            raise ValueError(f"engines: there is no model {min(unknown)!r}")
        self.refuse_unsuitable_models()
        if self.gate and len(self.models) < 2:
            raise ValueError("gate: needs two models: the first is the baseline, the last the candidate")
        if self.gate and (unknown := set(self.gate.suites) - {suite_name(suite) for suite in self.suites}):
            raise ValueError(f"gate.suites: there is no suite {min(unknown)!r}")
        return self

    def refuse_unsuitable_models(self) -> None:
        """Stored answers and collectives cannot take part in every suite."""
        kinds = {suite.suite for suite in self.suites}
        for place, examined in enumerate(self.models):
            field = f"models.{examined.name}"
            if isinstance(examined.model, Outputs) and (unsuitable := sorted(kinds & SAMPLED)):
                raise ValueError(f"{field}: kind 'outputs' cannot be used with {unsuitable[0]}")
            if isinstance(examined.model, Collective):
                if kinds & {"mt-bench", "lm-eval"}:
                    raise ValueError(f"{field}: a collective cannot be used with mt-bench or lm-eval")
                earlier = {other.name: other.model for other in self.models[:place]}
                collectives.check_members(field, examined.model, earlier, list_askable_models(earlier), self.judge)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(examined.name for examined in self.models)


def list_askable_models(named: Mapping[str, object]) -> set[str]:
    """Names of the models that can be prompted; stored outputs and collectives cannot."""
    return {name for name, model in named.items() if not isinstance(model, Outputs | Collective)}


def examine_recipe(recipe: Recipe, names: Sequence[str]) -> Examination:
    """The suites of a recipe's evaluation, as an examination of the recipe's models."""
    evaluation, judge = recipe.evaluation, recipe.evaluation.open_judge
    return Examination(
        name=recipe.name,
        seed=evaluation.seed,
        models=tuple(
            Examined(name=name, model=RecipeModel(kind="recipe", recipe=recipe.name, of=name)) for name in names
        ),
        suites=evaluation.suites,
        judge=JudgeEndpoint(**dict(judge), how=recipe.how.judging) if judge else None,
        confidence=evaluation.confidence,
        sampling=recipe.how.sampling,
        engines={name: engine for name, engine in recipe.how.engines.items() if name in names},
    )


def load_examination(name: str, overrides: Sequence[str] = ()) -> Examination:
    file = Path(name)
    if not file.is_file():
        raise BadInput(f"examination: there is no file {name!r:.80}")
    values = read_toml(file)
    for override in overrides:
        apply_override(values, override)
    try:
        return Examination.model_validate(values)
    except ValidationError as problem:
        raise BadInput(f"{file}: {describe_errors(problem, Examination)}") from problem
