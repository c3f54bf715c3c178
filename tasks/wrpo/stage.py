"""WRPO: leaves `model/`, the SFT model optimised on the triples, and `steps.parquet`, its reward dynamics."""

from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
from pydantic import Field

from infra.errors import BadInput
from infra.store import Manifest
from tasks.execution import Run
from tasks.stage import stage
from tasks.training import Training, TrainingHow

NEEDS = ("source_best", "own_best", "own_worst")  # y_ws, y_wt, y_l


class WRPO(Training):
    """WRPO in its DPO form: -log sigma(alpha r(y_ws) + (1 - alpha) r(y_wt) - r(y_l)), r = beta log(pi / pi_ref)."""

    objective: Literal["wrpo"]
    beta: float = Field(0.01, gt=0)
    alpha: float = Field(
        0.1, ge=0, le=1, description="weight of the source's response at the end; rises linearly from 0"
    )


@stage("WRPO", version="1")
def train_wrpo(run: Run, what: WRPO, how: TrainingHow, model: tuple[Manifest], pairs: tuple[Manifest]) -> None:
    settings = what.model_dump(mode="json", exclude={"seed", "objective", "beta", "alpha"})
    objective = {"kind": what.objective, "beta": what.beta, "alpha": what.alpha}
    refuse_incomplete(what.objective, run.file(pairs[0], "pairs.parquet"))
    out = run.program(
        "tasks.wrpo.train",
        {
            "model": str(run.model(model[0])),
            "pairs": [str(run.file(pairs[0], "pairs.parquet"))],
            "what": {**settings, "objective": objective},
            "how": how.model_dump(mode="json"),
            "seed": what.seed,
        },
    )
    run.keep(out, "model", "steps.parquet")


def refuse_incomplete(objective: str, file: Path) -> None:
    """Records of another pairing rule lack a role that the objective weighs."""
    for name, column in zip(NEEDS, pq.read_table(file, columns=list(NEEDS)).columns, strict=True):
        if column.null_count:
            raise BadInput(
                f"wrpo.objective: {objective!r} needs {name} in every record, and {column.null_count} of {len(column)} "
                "have none; the rule pairs.kind = 'wrpo' fills it"
            )
