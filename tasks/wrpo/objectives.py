"""Preference objectives as functions of tensors: WRPO (arXiv 2412.03187, section 3 and Table 5) and what it grew from.

Every response enters as one number per example, which the caller computes: the log-ratio
h(y) = log pi(y|x) - log pi_ref(y|x) for the DPO and IPO forms, log pi(y|x) for SimPO; the sum or the mean over the
response's tokens. All tensors have the shape (B,). This module needs no model, trainer or config.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def compute_dpo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """-log sigma(beta (h(y_w) - h(y_l))), arXiv 2305.18290; with means over tokens it is FuseChat-3.0's LN-DPO."""
    return -logsigmoid(beta * (chosen - rejected))


def compute_simpo_loss(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """-log sigma(beta (m(y_w) - m(y_l)) - gamma), arXiv 2405.14734; m is the mean of log pi over the response's tokens.

    gamma is the margin itself, as in the papers; SimPO's code has `gamma_beta_ratio` = gamma / beta instead.
    """
    return -logsigmoid(beta * (chosen - rejected) - gamma)


def compute_ipo_loss(chosen: Tensor, rejected: Tensor, tau: float) -> Tensor:
    """(h(y_w) - h(y_l) - 1 / (2 tau))^2, arXiv 2310.12036."""
    return (chosen - rejected - 1 / (2 * tau)) ** 2


def compute_wrpo_dpo_loss(
    source_best: Tensor,
    own_best: Tensor,
    own_worst: Tensor,
    alpha: float,
    beta: float,
    source_worst: Tensor | None = None,
) -> Tensor:
    """-log sigma(beta (alpha h(y_ws) + (1 - alpha) h(y_wt) - h(y_l))), equation 7; alpha = 0 is DPO on (y_wt, y_l)."""
    return compute_dpo_loss(
        mix_source_and_own(source_best, own_best, alpha), mix_source_and_own(source_worst, own_worst, alpha), beta
    )


def compute_wrpo_simpo_loss(
    source_best: Tensor,
    own_best: Tensor,
    own_worst: Tensor,
    alpha: float,
    beta: float,
    gamma: float,
    source_worst: Tensor | None = None,
) -> Tensor:
    """-log sigma(beta (alpha m(y_ws) + (1 - alpha) m(y_wt) - m(y_l)) - gamma), Table 5."""
    return compute_simpo_loss(
        mix_source_and_own(source_best, own_best, alpha),
        mix_source_and_own(source_worst, own_worst, alpha),
        beta,
        gamma,
    )


def compute_wrpo_ipo_loss(
    source_best: Tensor,
    own_best: Tensor,
    own_worst: Tensor,
    alpha: float,
    tau: float,
    source_worst: Tensor | None = None,
) -> Tensor:
    """(alpha h(y_ws) + (1 - alpha) h(y_wt) - h(y_l) - 1 / (2 tau))^2, Table 5."""
    return compute_ipo_loss(
        mix_source_and_own(source_best, own_best, alpha), mix_source_and_own(source_worst, own_worst, alpha), tau
    )


def mix_source_and_own(source: Tensor | None, own: Tensor | None, alpha: float) -> Tensor:
    """alpha h(source's) + (1 - alpha) h(own): one side of a comparison; if one of the two is None, the other alone.

    On the rejected side this is Table 10's variant with y_ls. Its formula is not published; this is the symmetric form.
    """
    if source is None or own is None:
        return cast(Tensor, own if source is None else source)
    return alpha * source + (1 - alpha) * own


def reward_metrics(
    source_best: Tensor | None = None,
    own_best: Tensor | None = None,
    own_worst: Tensor | None = None,
    alpha: float = 0.0,
    beta: float = 1.0,
    source_worst: Tensor | None = None,
) -> dict[str, Tensor]:
    """Implicit rewards r(y) = beta h(y) of the given responses, their margin, and accuracies against y_l; each (B,).

    `accuracy_source` is the paper's hybrid-policy reward accuracy, `accuracy_own` its on-policy counterpart.
    """
    given = {"source_best": source_best, "own_best": own_best, "own_worst": own_worst, "source_worst": source_worst}
    found = {f"reward_{name}": beta * values for name, values in given.items() if values is not None}
    margin = beta * (
        mix_source_and_own(source_best, own_best, alpha) - mix_source_and_own(source_worst, own_worst, alpha)
    )
    found |= {"margin": margin, "accuracy_weighted": (margin > 0).to(torch.float32)}
    for name, best in (("accuracy_source", source_best), ("accuracy_own", own_best)):
        if best is not None and own_worst is not None:
            found[name] = (best > own_worst).to(torch.float32)
    return found
