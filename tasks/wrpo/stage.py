"""WRPO: leaves `model/`, the SFT model optimised on the triples, and `steps.parquet`, its reward dynamics."""

from typing import Literal

from pydantic import Field

from infra.store import Manifest
from tasks.checkpoints import train
from tasks.execution import Run
from tasks.stage import stage
from tasks.training import TrainingHow
from tasks.wrpo.settings import Objective, terms


class WRPOHow(TrainingHow):
    layout: Literal["shared-prompt", "padded"] = Field(
        "shared-prompt", description="a prompt computed once for its responses, or with each of them; the results agree"
    )


@stage("WRPO", version="1")
def train_wrpo(run: Run, what: Objective, how: WRPOHow, model: tuple[Manifest], pairs: tuple[Manifest]) -> None:
    objective = terms(what)
    settings = what.model_dump(mode="json", exclude={"seed", "objective", *objective})
    out = train(
        run,
        "tasks.wrpo.train",
        {
            "model": str(run.model(model[0])),
            "pairs": [str(run.file(pairs[0], "pairs.parquet"))],
            "what": {**settings, "objective": {"kind": what.objective, **objective}},
            "how": how.model_dump(mode="json"),
            "seed": what.seed,
        },
    )
    run.keep(out, "model", "steps.parquet")
