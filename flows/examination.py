"""An examination: which models are evaluated on which suites, by which judge, and what a target must not lose. Values only.

Its first model is the one that the others are compared with.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from flows.complaints import describe
from flows.recipe import Reward, Section
from flows.written import apply, read_toml
from infra.errors import BadInput
from tasks.checks.stage import Checking
from tasks.evaluation.benchmarks import Benchmark
from tasks.evaluation.given import Outputs
from tasks.evaluation.judging import Judging, JudgingHow
from tasks.evaluation.opening import Suite
from tasks.models.stage import Folder, Hub, TinyGenerator
from tasks.prompts.stage import PromptSource
from tasks.responses.engines import AnyLocal, Transformers
from tasks.stage import Seed

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class OfRecipe(Section):
    """A model that a recipe makes or fuses, by its name there."""

    kind: Literal["recipe"]
    recipe: str
    of: str = Field("WRPO", description="target, SFT, WRPO or a source")
    set: tuple[str, ...] = Field((), description="overrides of the recipe, as --set takes them")


class Collective(Section):
    """No model, but one answer of those that models before it in the list gave: nothing is sampled for it."""

    members: tuple[str, ...] = Field(min_length=2, description="names; of equal ones the first has it")


class BestByReward(Collective):
    """The answer that a reward model likes best."""

    kind: Literal["best-by-reward"]
    reward: Reward


class LowestPerplexity(Collective):
    """The answer of the model that the prompt surprises least: PackLLM's Top1-PPL."""

    kind: Literal["lowest-perplexity"]


class Examined(Section):
    name: str = Field(pattern=NAME)
    model: Annotated[
        TinyGenerator | Folder | Hub | OfRecipe | Outputs | BestByReward | LowestPerplexity, Field(discriminator="kind")
    ]


class Decoding(Section):
    """How the models answer. Papers decode greedily here and sampled there: name a suite twice to have both."""

    name: str = Field("", pattern=f"{NAME}|^$", description="none: the suite's")
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(2048, gt=0)


class Judged(Suite, Decoding):
    """A suite of open questions, of which a judge says how well they were answered."""


class Checked(Decoding):
    """Prompts whose answers a program can check."""

    suite: Literal["checked"]
    prompts: PromptSource  # with gold: right answers, or tests
    checks: Checking = Checking()


class Benchmarked(Benchmark):
    """Benchmarks of lm-eval. It decodes as its tasks say."""

    name: str = Field("", pattern=f"{NAME}|^$", description="none: lm-eval")


class Judge(Section):
    model: str = Field(min_length=1, description="as the endpoint calls it")
    revision: str = ""
    both_orders: bool = False
    unanswered: float = Field(0.01, ge=0, le=1)
    how: JudgingHow = JudgingHow()

    def of(self, suite: str) -> Judging:
        return Judging(suite=suite, **self.model_dump(exclude={"how"}))


class Gate(Section):
    """Suites on which a model must not have lost to the first one, or it is not promoted."""

    suites: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(0.0, ge=0, description="points that may be lost even beyond noise")


class Examination(Section):
    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: Seed
    models: tuple[Examined, ...] = Field(min_length=1)
    suites: tuple[Annotated[Judged | Checked | Benchmarked, Field(discriminator="suite")], ...] = Field(min_length=1)
    judge: Judge | None = None
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
        if self.gate and (unknown := set(self.gate.suites) - {name_of(suite) for suite in self.suites}):
            raise ValueError(f"gate.suites: there is no suite {min(unknown)!r}")
        return self

    def refuse_turns_that_nobody_takes(self) -> None:
        asked = {suite.suite for suite in self.suites}
        for place, one in enumerate(self.models):
            if isinstance(one.model, Outputs) and asked & {"checked", "mt-bench", "lm-eval"}:
                raise ValueError(
                    f"models.{one.name}: outputs are answers to one judged turn, and a suite asks for more"
                )
            if isinstance(one.model, Collective):
                if asked & {"mt-bench", "lm-eval"}:
                    raise ValueError(
                        f"models.{one.name}: can choose an answer, but mt-bench and lm-eval ask for a model"
                    )
                if unknown := set(one.model.members) - {before.name for before in self.models[:place]}:
                    raise ValueError(f"models.{one.name}.members: no model before it is called {min(unknown)!r}")
            if isinstance(one.model, LowestPerplexity):
                answers = {other.name for other in self.models if isinstance(other.model, Outputs | Collective)}
                if beside := answers & set(one.model.members):
                    raise ValueError(f"models.{one.name}.members: {min(beside)!r} is no model, and has no perplexity")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.models)


def name_of(suite: Judged | Checked | Benchmarked) -> str:
    return suite.name or suite.suite


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
        raise BadInput(f"{file}: {describe(problem)}") from problem
