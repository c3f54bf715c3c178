"""The rules that choose training records: the settings of the recipe's `[records]` and `[pairs]`.

`selection.py` applies them to scored responses. The order of responses is the same everywhere: score, highest first, then
the order of the sources in the recipe, then the sample index, which is unique per prompt and source. The best response is the
first in this order, the worst the last.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.stage import What


class ScoreGap(What):
    """A window for score(chosen) - score(rejected), both ends included, in float64."""

    low: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    high: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="upper end of the window; if not set: no upper end"
    )
    unit: Literal["score", "quantile"] = Field(
        default="score",
        description="quantile: low and high are quantiles of the gaps of the rule's pairs, rounded to the next lower and the"
        " next "
        "higher gap",
    )

    @model_validator(mode="after")
    def ordered(self) -> "ScoreGap":
        if self.high is not None and self.high < self.low:
            raise ValueError(f"high {self.high:g} is below low {self.low:g}")
        if self.unit == "quantile" and max(self.low, self.high or 0) > 1:
            raise ValueError(f"a quantile must be in [0, 1], not {max(self.low, self.high or 0):g}")
        return self


MARGIN = Field(
    default=0.0,
    ge=0,
    allow_inf_nan=False,
    description="the score of the chosen response must exceed that of the rejected one by more than this",
)


Cut = Literal["dropped", "learned"]  # the treatment of a response that max_new_tokens cut off
CUT_REJECTED: Cut = Field(
    default="learned",
    description="responses that max_new_tokens cut off. learned: they may be the rejected response, and are trained without"
    " an end "
    "token (with it, the model would learn that ending is bad); dropped: they are never the rejected response",
)


class Rule(What):
    """A rule, with the inputs that it reads in addition to the prompts."""

    if TYPE_CHECKING:  # every rule of a recipe has this field, with a value that names only this rule
        kind: Any

    reads_own: ClassVar[bool] = False  # whether it reads responses of the SFT model
    reads_checks: ClassVar[bool] = False  # whether it reads checks (which responses are correct)
    fills: ClassVar[tuple[str, ...]] = ()  # the roles of a preference record that it fills

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the named sources whose responses the rule reads."""
        return ()

    def each(self) -> Iterator["Rule"]:
        """The single rules: itself, or one per category."""
        yield self


class ChoosingRule(Rule):
    """A rule that chooses among responses by their scores."""

    min_tokens: int = Field(default=0, ge=0, description="shorter responses are ignored")
    cut_chosen: Cut = Field(
        default="dropped",
        description="responses that max_new_tokens cut off. dropped: they are never the chosen response; learned: they may be "
        "chosen, and are trained without an end token",
    )


class FromSources(ChoosingRule):
    sources: tuple[str, ...] = Field(default=(), description="use only responses of these sources; empty: all sources")

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if not self.sources or name in self.sources)


class Wrpo(FromSources):
    """WRPO's triple: y_ws is the best response of all sources; y_wt and y_l are the best and the worst response of the SFT
    model, and the margin is between these two. A rank counts sampled responses: both ranks may be of one source, or even
    the same text sampled twice."""

    reads_own: ClassVar[bool] = True
    kind: Literal["wrpo"]
    rank: Literal[1, 2] = Field(default=1, description="y_ws is the best response of all sources, or the second best")
    source_worst: bool = Field(default=False, description="true: adds y_ls, the worst response of all sources")
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED

    @property
    def fills(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("source_best", "own_best", "own_worst") + ("source_worst",) * self.source_worst


class OnPolicy(ChoosingRule):
    """y_wt over y_l: the SFT model's best response over its worst."""

    reads_own: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("own_best", "own_worst")
    kind: Literal["on-policy"]
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED


class Hybrid(FromSources):
    """y_ws over y_l: the sources' best response over the SFT model's worst."""

    reads_own: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "own_worst")
    kind: Literal["hybrid"]
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED


class SameSource(FromSources):
    """FuseChat-3.0: the best response of all sources over the worst of the same source. Equal scores make no pair. If the gap
    is outside the window, the prompt is dropped; no other source is tried."""

    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    kind: Literal["same-source"]
    gap: ScoreGap = ScoreGap()
    cut_rejected: Cut = CUT_REJECTED


class Math(FromSources):
    """FuseChat-3.0: the best correct response over the worst incorrect one of the same source. Among the sources that have
    both, the source of the best correct response is taken. Without a gap, only the checks decide."""

    reads_checks: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    same_source: ClassVar[bool] = True
    kind: Literal["math"]
    gap: ScoreGap | None = None
    cut_rejected: Cut = CUT_REJECTED


class Code(FromSources):
    """FuseChat-3.0: the best response that passed its tests over the worst that failed. Prompts without both are dropped."""

    reads_checks: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    kind: Literal["code"]
    same_source: bool = Field(
        default=False, description="true: both responses are of the same source, as for math; false: of any source"
    )
    gap: ScoreGap | None = None
    cut_rejected: Cut = CUT_REJECTED


class Best(FromSources):
    """SFT records: for each prompt, the best response of all sources."""

    kind: Literal["best"]


class BestCorrect(FromSources):
    """SFT records: for each prompt, the best correct response of all sources."""

    reads_checks: ClassVar[bool] = True
    kind: Literal["best-correct"]


class GivenResponse(Rule):
    """SFT records: the response that came with the prompt (the field `response` of the prompts)."""

    kind: Literal["given"]


class Categories(Rule):
    """Base of the rules that contain one rule per category."""

    kind: Literal["by-category"]
    if TYPE_CHECKING:  # a field of the subclasses
        rules: dict[str, Any]

    @property
    def reads_own(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(rule.reads_own for rule in self.each())

    @property
    def reads_checks(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return any(rule.reads_checks for rule in self.each())

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(name in rule.uses(names) for rule in self.each()))

    def each(self) -> Iterator[Rule]:
        yield from self.rules.values()


OnePairRule = Annotated[Wrpo | OnPolicy | Hybrid | SameSource | Math | Code, Field(discriminator="kind")]
OneRecordRule = Annotated[Best | BestCorrect | GivenResponse, Field(discriminator="kind")]


class PairsByCategory(Categories):
    """Pairs by one rule per category; prompts of a category without a rule are dropped."""

    rules: dict[str, OnePairRule] = Field(min_length=1)


class RecordsByCategory(Categories):
    """SFT records by one rule per category; prompts of a category without a rule are dropped."""

    rules: dict[str, OneRecordRule] = Field(min_length=1)


PairRule = Annotated[Wrpo | OnPolicy | Hybrid | SameSource | Math | Code | PairsByCategory, Field(discriminator="kind")]
RecordRule = Annotated[Best | BestCorrect | GivenResponse | RecordsByCategory, Field(discriminator="kind")]
