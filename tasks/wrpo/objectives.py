"""The WRPO objective as functions of tensors: Weighted-Reward Preference Optimization, arXiv 2412.03187, section 3.

Every response enters as one number per example: its log-ratio h(y) = log pi(y|x) - log pi_ref(y|x), summed over the
response's tokens. All tensors have the shape (B,); nothing here knows of a model, a trainer or a config.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def weighted(source_best: Tensor, own_best: Tensor, alpha: float) -> Tensor:
    """alpha h(y_ws) + (1 - alpha) h(y_wt): the preferred side of the pair, part source and part own."""
    return alpha * source_best + (1 - alpha) * own_best


def wrpo_dpo(source_best: Tensor, own_best: Tensor, own_worst: Tensor, alpha: float, beta: float) -> Tensor:
    """-log sigma(beta (alpha h(y_ws) + (1 - alpha) h(y_wt) - h(y_l))), equation 7; alpha = 0 is DPO on (y_wt, y_l)."""
    return -logsigmoid(beta * (weighted(source_best, own_best, alpha) - own_worst))


def linear_alpha(step: int, steps: int, maximum: float) -> float:
    """alpha(s) = maximum s / N of the optimizer step that follows `step` completed ones: exactly 0 at the first."""
    return maximum * step / max(steps, 1)


def reward_metrics(
    source_best: Tensor, own_best: Tensor, own_worst: Tensor, alpha: float, beta: float
) -> dict[str, Tensor]:
    """Implicit rewards r(y) = beta h(y), the margin that the loss sees, and who beats y_l; each of the shape (B,).

    `accuracy_source` is the paper's hybrid-policy reward accuracy, `accuracy_own` its on-policy counterpart.
    """
    margin = beta * (weighted(source_best, own_best, alpha) - own_worst)
    return {
        "reward_source_best": beta * source_best,
        "reward_own_best": beta * own_best,
        "reward_own_worst": beta * own_worst,
        "margin": margin,
        "accuracy_weighted": (margin > 0).to(torch.float32),
        "accuracy_source": (source_best > own_worst).to(torch.float32),
        "accuracy_own": (own_best > own_worst).to(torch.float32),
    }
