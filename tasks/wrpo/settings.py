"""Settings of the objectives, a union discriminated by `objective`, and of the schedules of alpha.

The defaults are the values chosen in WRPO's Table 6. (The table has no tau column: IPO's tau is under alpha, WRPO-IPO's
under gamma.) The formulas are in `objectives.py`.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field

from tasks.stage import What
from tasks.training.settings import Training


class Linear(What):
    """alpha s / N: starts at 0, as in the paper and its code."""

    kind: Literal["linear"]


class Static(What):
    """Constant alpha: the paper's Figure 6."""

    kind: Literal["static"]


class Cosine(What):
    """alpha (1 - cos(pi s / N)) / 2."""

    kind: Literal["cosine"]


class GapSchedule(What):
    """alpha min(1, exp(-gap / scale)): the source's response gets more weight as the policy finds it as likely as its own."""

    kind: Literal["gap"]
    scale: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="nats per token at which the weight is alpha / e"
    )
    window: int = Field(
        default=10, gt=0, description="number of optimizer steps over which the measured gap is averaged"
    )


Schedule = Annotated[Linear | Static | Cosine | GapSchedule, Field(discriminator="kind")]
LogProbs = Literal["sum", "mean"]
ALPHA = Field(
    default=0.1,
    ge=0,
    le=1,
    description="largest weight of the source's response; `schedule` sets its course over the steps",
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
    """The preferred side combines a source's response (weight alpha) and the model's own (weight 1 - alpha)."""

    schedule: Schedule = Linear(kind="linear")
    source_worst: bool = Field(
        default=False,
        description="true: alpha r(y_ls) + (1 - alpha) r(y_l) on the rejected side (Table 10); needs pairs with y_ls",
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
    """WRPO in its SimPO form: uses mean log-probabilities and no reference model."""

    objective: Literal["wrpo-simpo"]
    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    gamma: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="the margin, not its ratio to beta")
    alpha: float = Field(default=0.5, ge=0, le=1)
    log_probs: LogProbs = "mean"


class WRPOIPO(Weighted):
    """WRPO in its IPO form. The default is sums: Table 5 does not divide by length, and at tau .01 the target margin is 50
    nats, which whole responses can reach and means per token cannot. TRL divides by length: `log_probs = "mean"`."""

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
    """IPO; `log_probs` as in WRPO-IPO."""

    objective: Literal["ipo"]
    tau: float = TAU
    log_probs: LogProbs = "sum"


class SimPO(PairwiseObjective):
    """SimPO: uses mean log-probabilities and no reference model."""

    objective: Literal["simpo"]
    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="the margin, not its ratio to beta")
    log_probs: LogProbs = "mean"


VARIANTS = (WRPO, WRPOSimPO, WRPOIPO, DPO, IPO, SimPO)
Objective = Annotated[WRPO | WRPOSimPO | WRPOIPO | DPO | IPO | SimPO, Field(discriminator="objective")]


class ReferenceSettings(What):
    """The settings on which log pi_ref depends, in addition to weights and responses. Objectives, beta and alpha are not among
    them, thus trainings share one reference. Trainings with an adapter share it too: without the adapter the model has the
    same weights."""

    max_length: int = Field(gt=0)
    precision: Literal["fp32", "bf16"]
    base: Literal["full", "nf4"] = "full"


def reference_settings(what: Training) -> ReferenceSettings | None:
    """The settings of the objective's reference; None for the SimPO forms, which need no reference."""
    if isinstance(what, SimPO | WRPOSimPO):
        return None
    return ReferenceSettings(
        max_length=what.max_length, precision=what.precision, base=what.lora.base if what.lora else "full"
    )


def objective_names() -> tuple[str, ...]:
    """All values of `objective`."""
    return tuple(get_args(variant.model_fields["objective"].annotation)[0] for variant in VARIANTS)


def objective_terms(what: Training) -> dict:
    """An objective's settings without the settings common to all trainings."""
    return what.model_dump(mode="json", exclude={*Training.model_fields, "objective"})
