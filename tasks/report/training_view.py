"""The sections with the logged values of both trainings."""

from tasks.report.charts import draw_curves
from tasks.report.markup import render_absent, render_figure

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


def render_dynamics(numbers: dict) -> str:
    found = numbers["dynamics"]
    if not found:
        return render_absent("No steps of WRPO training were logged.")
    implicit = render_figure(
        "Implicit rewards of the preferred (best of sources, best own) and dispreferred (worst own) responses, and how "
        "often a preferred one is ahead: the preferred curves should move away from the dispreferred one. Logged "
        "values without smoothing; “weighted” means weighted by α.",
        [
            draw_curves(found, REWARDS, "implicit reward (nats)", zero=True),
            draw_curves(found, ACCURACIES, "ahead of worst own (share of pairs)"),
            draw_curves(found, [("margin", "", "wrpo")], "weighted margin (nats)", zero=True),
            draw_curves(found, [("alpha", "", "source")], "α, weight of the best of sources", zero=True),
        ],
    )
    return implicit + render_figure(
        "Course of the optimisation: the loss should become stable, and the gradient norm should stay bounded.",
        [
            draw_curves(found, [("loss", "", "wrpo")], "WRPO loss"),
            draw_curves(found, [("grad_norm", "", "wrpo")], "gradient norm"),
            draw_curves(found, [("learning_rate", "", "wrpo")], "learning rate", zero=True),
        ],
    )


def render_tuning(numbers: dict) -> str:
    found = numbers["sft_dynamics"]
    if not found:
        return render_absent("No steps of SFT were logged.")
    return render_figure(
        "Training loss and learning rate of SFT: the loss should become stable. It is measured on training data, so a "
        "low value alone does not show quality.",
        [
            draw_curves(found, [("loss", "", "sft")], "SFT loss (nats per response token)"),
            draw_curves(found, [("learning_rate", "", "sft")], "learning rate", zero=True),
        ],
    )
