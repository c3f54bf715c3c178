"""The objectives as settings: a union on `objective`, each with its own fields, and the schedules of alpha.

Defaults are those that WRPO's Table 6 chose (whose tau column was lost: IPO's tau stands under alpha, WRPO-IPO's under
gamma). What the objectives compute stands in `objectives.py`; which response plays which role, in `preference.py`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from tasks.stage import What
from tasks.training.settings import Training


class Linear(What):
    """alpha s / N: from 0, as both the paper and its code have it."""

    kind: Literal["linear"]


class Static(What):
    """alpha throughout: the paper's Figure 6."""

    kind: Literal["static"]


class Cosine(What):
    """alpha (1 - cos(pi s / N)) / 2."""

    kind: Literal["cosine"]


class GapSchedule(What):
    """alpha min(1, exp(-gap / scale)): the closer the policy finds the source's response to its own, the more it weighs."""

    kind: Literal["gap"]
    scale: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="nats per token at which the weight is alpha / e"
    )
    window: int = Field(default=10, gt=0, description="optimizer steps over which the measured gap is averaged")


Schedule = Annotated[Linear | Static | Cosine | GapSchedule, Field(discriminator="kind")]
LogProbs = Literal["sum", "mean"]
ALPHA = Field(
    default=0.1, ge=0, le=1, description="weight of the source's response, at its largest; `schedule` says when"
)
BETA = Field(default=0.01, gt=0, allow_inf_nan=False)
TAU = Field(default=0.01, gt=0, allow_inf_nan=False)


TRIPLE = ("source_best", "own_best", "own_worst")
ROLES = (*TRIPLE, "source_worst")
PAIRS = {
    "own": ("own_best", "own_worst"),
    "hybrid": ("source_best", "own_worst"),
    "sources": ("source_best", "source_worst"),
}


class Weighted(Training):
    """A source's response and the model's own share the preferred side, alpha to 1 - alpha."""

    schedule: Schedule = Linear(kind="linear")
    source_worst: bool = Field(
        default=False,
        description="alpha r(y_ls) + (1 - alpha) r(y_l) on the rejected side (Table 10); needs pairs with y_ls",
    )

    @property
    def roles(self) -> tuple[str, ...]:
        """The responses of a record that the objective reads."""
        return TRIPLE + ("source_worst",) * self.source_worst


class WRPO(Weighted):
    """WRPO in its DPO form: -log sigma(alpha r(y_ws) + (1 - alpha) r(y_wt) - r(y_l)), r = beta log(pi / pi_ref)."""

    objective: Literal["wrpo"]
    beta: float = BETA
    alpha: float = ALPHA
    log_probs: LogProbs = "sum"


class WRPOSimPO(Weighted):
    """WRPO in its SimPO form: of mean log-probabilities, without reference model."""

    objective: Literal["wrpo-simpo"]
    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    gamma: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="the margin itself, not its ratio to beta")
    alpha: float = Field(default=0.5, ge=0, le=1)
    log_probs: LogProbs = "mean"


class WRPOIPO(Weighted):
    """WRPO in its IPO form. Sums by default: Table 5 divides by no length, and at tau .01 the margin asked for is 50 nats,
    within reach of whole responses and out of reach per token. TRL divides: `log_probs = "mean"`."""

    objective: Literal["wrpo-ipo"]
    tau: float = TAU
    alpha: float = ALPHA
    log_probs: LogProbs = "sum"


class PairwiseObjective(Training):
    """One preferred response and one rejected."""

    pair: Literal["own", "hybrid", "sources"] = Field(
        default="own",
        description="own: y_wt over y_l (WRPO at alpha 0); hybrid: y_ws over y_l (at alpha 1); sources: y_ws over y_ls",
    )

    @property
    def roles(self) -> tuple[str, ...]:
        """The responses of a record that the objective reads."""
        return PAIRS[self.pair]


class DPO(PairwiseObjective):
    """DPO; with `log_probs = "mean"` FuseChat-3.0's length-normalised DPO."""

    objective: Literal["dpo"]
    beta: float = BETA
    log_probs: LogProbs = "sum"


class IPO(PairwiseObjective):
    """IPO; sums or means as with WRPO-IPO."""

    objective: Literal["ipo"]
    tau: float = TAU
    log_probs: LogProbs = "sum"


class SimPO(PairwiseObjective):
    """SimPO: of mean log-probabilities, without reference model."""

    objective: Literal["simpo"]
    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="the margin itself, not its ratio to beta")
    log_probs: LogProbs = "mean"


VARIANTS = (WRPO, WRPOSimPO, WRPOIPO, DPO, IPO, SimPO)
Objective = Annotated[WRPO | WRPOSimPO | WRPOIPO | DPO | IPO | SimPO, Field(discriminator="objective")]


class ReferenceSettings(What):
    """What log pi_ref depends on beside the weights and the responses. Neither objective nor beta nor alpha is among it:
    the same reference serves them all, and an adapter too, which starts from the very weights, or as they were rounded."""

    max_length: int = Field(gt=0)
    precision: Literal["fp32", "bf16"]
    base: Literal["full", "nf4"] = "full"


def reference_settings(what: Training) -> ReferenceSettings | None:
    """Of which reference an objective asks; SimPO of none."""
    if isinstance(what, SimPO | WRPOSimPO):
        return None
    return ReferenceSettings(
        max_length=what.max_length, precision=what.precision, base=what.lora.base if what.lora else "full"
    )


def objective_names() -> tuple[str, ...]:
    """What `objective` may be."""
    return tuple(get_args(variant.model_fields["objective"].annotation)[0] for variant in VARIANTS)


def objective_terms(what: Training) -> dict:
    """Of an objective's settings those that are not every training's."""
    return what.model_dump(mode="json", exclude={*Training.model_fields, "objective"})
