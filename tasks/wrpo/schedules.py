"""alpha, the weight of the source's response, as pure functions of the optimizer steps done; a run has N = `steps` of them.

Only completed steps count, so alpha is constant inside an accumulation window and the same on any number of devices. A
checkpoint holds all that they need: the step, N, and for `gap_alpha` what was logged of the steps before.
"""

import math
from collections.abc import Sequence


def linear_alpha(step: int, steps: int, maximum: float) -> float:
    """maximum s / N of the optimizer step that follows `step` completed ones: exactly 0 at the first, as published."""
    return maximum * step / max(steps, 1)


def cosine_alpha(step: int, steps: int, maximum: float) -> float:
    """maximum (1 - cos(pi s / N)) / 2: 0 at first and maximum at the end as the linear one, but flat at both."""
    return maximum * (1 - math.cos(math.pi * step / max(steps, 1))) / 2


def gap_alpha(gaps: Sequence[float], maximum: float, scale: float, window: int) -> float:
    """maximum min(1, exp(-g / scale)), g the mean over the last `window` steps of the gap that the policy itself shows.

    A step's gap is the mean over its examples of m(y_wt) - m(y_ws), m the mean of log pi over a response's tokens: nats per
    token by which the policy prefers its own. So at scale 1 the source's response has the weight that the ratio of the
    perplexities, own to source's, gives it: all of maximum once the policy finds it as likely as its own, little while it
    is strange. Before anything was measured alpha is 0. Neither paper has this schedule.
    """
    if not gaps:
        return 0.0
    recent = gaps[-window:]
    return maximum * math.exp(min(0.0, -sum(recent) / len(recent) / scale))
