"""Connects an objective's settings (`settings.py`) with its mathematics (`objectives.py`, `schedules.py`).

A trainer gets from it the roles, the need for a reference, the losses, alpha, and the metrics to log.
"""

from collections.abc import Sequence
from typing import TypeAlias, cast

from pydantic import TypeAdapter
from torch import Tensor

from infra.errors import BadInput
from tasks.wrpo.objectives import (
    compute_dpo_loss,
    compute_ipo_loss,
    compute_simpo_loss,
    compute_wrpo_dpo_loss,
    compute_wrpo_ipo_loss,
    compute_wrpo_simpo_loss,
    reward_metrics,
)
from tasks.wrpo.schedules import cosine_alpha, gap_alpha, linear_alpha
from tasks.wrpo.settings import (
    DPO,
    IPO,
    WRPO,
    WRPOIPO,
    Cosine,
    GapSchedule,
    Linear,
    Objective,
    SimPO,
    Static,
    WRPOSimPO,
    objective_names,
    reference_settings,
)

WeightedObjective: TypeAlias = WRPO | WRPOSimPO | WRPOIPO


def from_job(what: dict, seed: int) -> "Preference":
    """Builds a Preference from a job's `what`; its `objective` holds `kind` and the objective's own fields."""
    fields = dict(what["objective"])
    kind = fields.pop("kind")
    if kind not in objective_names():
        raise BadInput(f"objective: {kind!r} is not one of: {', '.join(map(repr, objective_names()))}")
    settings = {**what, **fields, "objective": kind, "seed": seed}
    return Preference(TypeAdapter(Objective).validate_python(settings))


class Preference:
    """An objective in use. `values` are its responses' log-ratios (or log-probabilities) by role, each (B,)."""

    def __init__(self, settings: Objective):
        self.settings = settings
        self.weighs = isinstance(settings, WeightedObjective)
        self.needs_reference = reference_settings(settings) is not None
        self.roles = settings.roles
        self.scale = settings.tau if isinstance(settings, IPO | WRPOIPO) else settings.beta

    def values(self, log_probs: Tensor, lengths: Tensor, reference: Tensor | None) -> dict[str, Tensor]:
        """Computes `values` from sums of log pi, numbers of tokens and, if needed, the reference's sums; each (roles, B)."""
        ratios = log_probs - cast(Tensor, reference) if self.needs_reference else log_probs
        return dict(zip(self.roles, ratios / lengths if self.settings.log_probs == "mean" else ratios, strict=True))

    def losses(self, values: dict[str, Tensor], alpha: float | None) -> Tensor:
        weight = cast(float, alpha)  # alpha is None only for losses that do not use it
        match self.settings:
            case WRPO(beta=beta):
                return compute_wrpo_dpo_loss(**values, alpha=weight, beta=beta)
            case WRPOSimPO(beta=beta, gamma=gamma):
                return compute_wrpo_simpo_loss(**values, alpha=weight, beta=beta, gamma=gamma)
            case WRPOIPO(tau=tau):
                return compute_wrpo_ipo_loss(**values, alpha=weight, tau=tau)
            case DPO(beta=beta):
                return compute_dpo_loss(*values.values(), beta=beta)
            case IPO(tau=tau):
                return compute_ipo_loss(*values.values(), tau=tau)
            case SimPO(beta=beta, gamma=gamma):
                return compute_simpo_loss(*values.values(), beta=beta, gamma=gamma)
        raise TypeError(f"{type(self.settings).__name__} has no loss function")

    def alpha(self, step: int, steps: int, history: Sequence[dict]) -> float | None:
        """alpha for the optimizer step after `step` completed ones, whose logs are `history`; None for unweighted objectives."""
        if not self.weighs:
            return None
        settings = cast(WeightedObjective, self.settings)
        match settings.schedule:
            case Linear():
                return linear_alpha(step, steps, settings.alpha)
            case Static():
                return settings.alpha
            case Cosine():
                return cosine_alpha(step, steps, settings.alpha)
            case GapSchedule(scale=scale, window=window):
                gaps = [entry["gap"] for entry in history if "gap" in entry and entry["step"] <= step]
                return gap_alpha(gaps, settings.alpha, scale, window)
        raise TypeError(f"{type(settings.schedule).__name__} is not a schedule")

    def metrics(self, values: dict[str, Tensor], log_probs: Tensor, lengths: Tensor, alpha: float | None) -> dict:
        """A batch's metrics for the log, each (B,): rewards, margin, accuracies, sums of log pi, and the gap for `gap_alpha`."""
        found = reward_metrics(**values, alpha=alpha or 0.0, beta=self.scale)
        found |= {f"log_prob_{name}": sums for name, sums in zip(self.roles, log_probs, strict=True)}
        if self.weighs:
            per_token = dict(zip(self.roles, log_probs / lengths, strict=True))
            found["gap"] = per_token["own_best"] - per_token["source_best"]
        return found
