"""The sections with the logged values of both trainings."""

from tasks.report.charts import curves
from tasks.report.markup import absent, figure

REWARDS = [
    ("reward_source_best", "best of sources", "source"),
    ("reward_own_best", "best own", "wrpo"),
    ("reward_own_worst", "worst own", "target"),
]
ACCURACIES = [
    ("accuracy_source", "sources", "source"),
    ("accuracy_own", "own", "target"),
    ("accuracy_weighted", "weighted", "wrpo"),
]


def dynamics(numbers: dict) -> str:
    found = numbers["dynamics"]
    if not found:
        return absent("No steps of WRPO training were logged.")
    implicit = figure(
        "Implicit rewards of the preferred (best of sources, best own) and dispreferred (worst own) responses, and how "
        "often a preferred one is ahead: the preferred curves should move away from the dispreferred one. Logged "
        "values without smoothing; “weighted” means weighted by α.",
        [
            curves(found, REWARDS, "implicit reward (nats)", zero=True),
            curves(found, ACCURACIES, "ahead of worst own (share of pairs)"),
            curves(found, [("margin", "", "wrpo")], "weighted margin (nats)", zero=True),
            curves(found, [("alpha", "", "source")], "α, weight of the best of sources", zero=True),
        ],
    )
    return implicit + figure(
        "Course of the optimisation: the loss should become stable, and the gradient norm should stay bounded.",
        [
            curves(found, [("loss", "", "wrpo")], "WRPO loss"),
            curves(found, [("grad_norm", "", "wrpo")], "gradient norm"),
            curves(found, [("learning_rate", "", "wrpo")], "learning rate", zero=True),
        ],
    )


def tuning(numbers: dict) -> str:
    found = numbers["sft_dynamics"]
    if not found:
        return absent("No steps of SFT were logged.")
    return figure(
        "Training loss and learning rate of SFT: the loss should become stable. It is measured on training data, so a "
        "low value alone does not show quality.",
        [
            curves(found, [("loss", "", "sft")], "SFT loss (nats per response token)"),
            curves(found, [("learning_rate", "", "sft")], "learning rate", zero=True),
        ],
    )
