"""Which records a run trains on, as values: the typed rules of the recipe's `[records]` and `[pairs]`.

What each of them does with scored responses stands in `selection.py`. The order of responses is the same everywhere: score,
highest first, then the order of the sources in the recipe, then the sample index. (A sample index stands once per prompt
and source, so a content id never has to decide.) The best is the first in this order, the worst the last.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from tasks.stage import What


class Gap(What):
    """A window for score(chosen) - score(rejected), both ends included, in float64."""

    low: float = Field(0.0, ge=0, allow_inf_nan=False)
    high: float | None = Field(None, ge=0, allow_inf_nan=False, description="none: no upper end")
    unit: Literal["score", "quantile"] = Field(
        "score", description="quantile: ends are shares of the rule's pairs; the next lower and next higher gap count"
    )

    @model_validator(mode="after")
    def ordered(self) -> "Gap":
        if self.high is not None and self.high < self.low:
            raise ValueError(f"high {self.high:g} is below low {self.low:g}")
        if self.unit == "quantile" and max(self.low, self.high or 0) > 1:
            raise ValueError(f"a quantile lies in [0, 1], not {max(self.low, self.high or 0):g}")
        return self


MARGIN = Field(0.0, ge=0, allow_inf_nan=False, description="chosen must score above rejected by more than this")


Cut = Literal["dropped", "learned"]  # what becomes of a response that max_new_tokens ended
CUT_REJECTED = Field(
    "learned",
    description="a rejected response that max_new_tokens cut off. learned: without an end token, as it did not end there: "
    "with one, the training would learn that ending is bad; dropped: it is never the rejected one",
)


class Rule(What):
    """What a rule reads beside the prompts."""

    reads_own: ClassVar[bool] = False  # responses of the SFT model
    reads_checks: ClassVar[bool] = False  # which responses are correct
    fills: ClassVar[tuple[str, ...]] = ()  # the roles of a preference record

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Of these sources, those whose responses the rule reads."""
        return ()

    def each(self) -> Iterator["Rule"]:
        """The rules that it is made of."""
        yield self


class Choosing(Rule):
    """A rule that chooses among responses by their scores."""

    min_tokens: int = Field(0, ge=0, description="a shorter response takes no part")
    cut_chosen: Cut = Field(
        "dropped",
        description="a response that max_new_tokens cut off. dropped: it is never learned from as the best one; learned: it "
        "may be, without an end token",
    )


class FromSources(Choosing):
    sources: tuple[str, ...] = Field((), description="only these sources' responses; empty: all sources'")

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if not self.sources or name in self.sources)


class Wrpo(FromSources):
    """WRPO's triple: y_ws of all sources, y_wt and y_l the best and the worst of the SFT model's own; the margin is
    theirs. A rank counts responses, as sampled: one source may hold both, and the same words sampled twice do."""

    reads_own: ClassVar[bool] = True
    kind: Literal["wrpo"]
    rank: Literal[1, 2] = Field(1, description="y_ws is the best response of all sources, or the second best")
    source_worst: bool = Field(False, description="also y_ls, the worst response of all sources")
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED

    @property
    def fills(self) -> tuple[str, ...]:
        return ("source_best", "own_best", "own_worst") + ("source_worst",) * self.source_worst


class OnPolicy(Choosing):
    """y_wt over y_l: best over worst of the SFT model's own responses."""

    reads_own: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("own_best", "own_worst")
    kind: Literal["on-policy"]
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED


class Hybrid(FromSources):
    """y_ws over y_l: the sources' best over the SFT model's own worst."""

    reads_own: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "own_worst")
    kind: Literal["hybrid"]
    margin: float = MARGIN
    cut_rejected: Cut = CUT_REJECTED


class SameSource(FromSources):
    """FuseChat-3.0: best over worst of one source, the one that owns the best response of all. Equal scores make no
    pair. Where its gap lies outside of the window the prompt is dropped; no other source takes its place."""

    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    kind: Literal["same-source"]
    gap: Gap = Gap()
    cut_rejected: Cut = CUT_REJECTED


class Math(FromSources):
    """FuseChat-3.0: the best correct response over the worst incorrect one of the same source: of the sources that have
    both, the one that owns the best correct response. Without a gap the check alone decides, whatever the scores."""

    reads_checks: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    same_source: ClassVar[bool] = True
    kind: Literal["math"]
    gap: Gap | None = None
    cut_rejected: Cut = CUT_REJECTED


class Code(FromSources):
    """FuseChat-3.0: the best response that passed over the worst that failed. Prompts that all fail are dropped."""

    reads_checks: ClassVar[bool] = True
    fills: ClassVar[tuple[str, ...]] = ("source_best", "source_worst")
    kind: Literal["code"]
    same_source: bool = Field(False, description="as for math; else both are taken over all sources")
    gap: Gap | None = None
    cut_rejected: Cut = CUT_REJECTED


class Best(FromSources):
    """SFT records: of each prompt the best response of all sources."""

    kind: Literal["best"]


class BestCorrect(FromSources):
    """SFT records: of each prompt the best among the correct responses of all sources."""

    reads_checks: ClassVar[bool] = True
    kind: Literal["best-correct"]


class Given(Rule):
    """SFT records: the response that came with the prompt (the field `response` of the prompts)."""

    kind: Literal["given"]


class Categories(Rule):
    """What the two rules have in common that give each category a rule of its own."""

    kind: Literal["by-category"]

    @property
    def reads_own(self) -> bool:
        return any(rule.reads_own for rule in self.each())

    @property
    def reads_checks(self) -> bool:
        return any(rule.reads_checks for rule in self.each())

    def uses(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(name in rule.uses(names) for rule in self.each()))

    def each(self) -> Iterator[Rule]:
        yield from self.rules.values()


OnePairRule = Annotated[Wrpo | OnPolicy | Hybrid | SameSource | Math | Code, Field(discriminator="kind")]
OneRecordRule = Annotated[Best | BestCorrect | Given, Field(discriminator="kind")]


class PairsByCategory(Categories):
    """Pairs by a rule per category; prompts of a category without one are dropped."""

    rules: dict[str, OnePairRule] = Field(min_length=1)


class RecordsByCategory(Categories):
    """SFT records by a rule per category; prompts of a category without one are dropped."""

    rules: dict[str, OneRecordRule] = Field(min_length=1)


PairRule = Annotated[Wrpo | OnPolicy | Hybrid | SameSource | Math | Code | PairsByCategory, Field(discriminator="kind")]
RecordRule = Annotated[Best | BestCorrect | Given | RecordsByCategory, Field(discriminator="kind")]
