"""SFT: leaves `model/`, the target fine-tuned on the best source responses, and `steps.parquet`."""

from typing import Literal

from pydantic import Field

from infra.store import Manifest
from tasks.checkpoints import train
from tasks.execution import Run
from tasks.stage import stage
from tasks.training import Training, TrainingHow


class SFT(Training):
    """Cross-entropy on the best source responses."""

    form: Literal["completion", "packed", "none"] = Field(
        "completion",
        description="completion: a row is a record, the loss is on its response; packed: as WRPO was published, a row is a "
        "block of max_length tokens of records in a chain, the loss is on all of them; none: no SFT, the target itself is "
        "optimised",
    )


@stage("SFT", version="1")
def train_sft(run: Run, what: SFT, how: TrainingHow, model: tuple[Manifest], records: tuple[Manifest]) -> None:
    out = train(
        run,
        "tasks.sft.train",
        {
            "model": str(run.model(model[0])),
            "records": [str(run.file(records[0], "records.parquet"))],
            "what": what.model_dump(mode="json", exclude={"seed"}),
            "how": how.model_dump(mode="json"),
            "seed": what.seed,
        },
        how.group,
    )
    run.keep(out, "model", "steps.parquet")
