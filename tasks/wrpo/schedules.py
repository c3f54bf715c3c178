"""Schedules of alpha, the weight of the source's response: functions of the completed optimizer steps s out of N = `steps`.

Because only completed steps count, alpha is constant inside an accumulation window and the same on any number of devices.
A checkpoint holds all inputs: the step, N, and for `gap_alpha` the log of earlier steps.
"""

import math
from collections.abc import Sequence


def linear_alpha(step: int, steps: int, maximum: float) -> float:
    """maximum s / N after s = `step` completed steps: exactly 0 at the first step, as published."""
    return maximum * step / max(steps, 1)


def cosine_alpha(step: int, steps: int, maximum: float) -> float:
    """maximum (1 - cos(pi s / N)) / 2: from 0 to maximum like `linear_alpha`, but flat at both ends."""
    return maximum * (1 - math.cos(math.pi * step / max(steps, 1))) / 2


def gap_alpha(gaps: Sequence[float], maximum: float, scale: float, window: int) -> float:
    """maximum min(1, exp(-g / scale)), where g is the policy's mean gap over the last `window` steps.

    A step's gap is the mean over its examples of m(y_wt) - m(y_ws), and m is the mean of log pi over a response's tokens: the
    nats per token by which the policy prefers its own response. At scale 1 the weight is maximum times the ratio of the
    perplexities, own to source's: maximum if the policy finds both responses equally likely, near 0 if it finds the source's
    unlikely. Without measured gaps alpha is 0. Neither paper has this schedule.
    """
    if not gaps:
        return 0.0
    recent = gaps[-window:]
    return maximum * math.exp(min(0.0, -sum(recent) / len(recent) / scale))
