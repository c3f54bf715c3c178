"""SFT: fine-tunes the target on the best source responses; writes `model/`, `steps.parquet` and `speed.parquet`."""

from typing import Literal

from pydantic import Field

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.stage import What, stage
from tasks.training.resumable import train_resumably
from tasks.training.settings import Training, TrainingHow


class BestOfTwo(What):
    """Compares the final weights with those of an earlier step, and keeps the better ones."""

    every: int = Field(
        default=100, gt=0, description="number of steps: the earlier step is the last multiple of it before the end"
    )
    held_out: float = Field(
        default=0.02,
        gt=0,
        lt=0.5,
        description="share of the records that are not used for training; the loss on their responses decides",
    )


class SFT(Training):
    """Cross-entropy on the best source responses."""

    form: Literal["completion", "packed", "none"] = Field(
        default="completion",
        description="completion: a row is one record, with the loss on its response; packed: as in WRPO's published code, "
        "the records are joined and cut into rows of max_length tokens, with the loss on all tokens; none: no SFT, WRPO "
        "trains the target directly",
    )
    best_of_two: BestOfTwo | None = Field(default=None, description="if not set: keeps the weights of the last step")


@stage("SFT", version="3")
def train_sft(run: Run, what: SFT, how: TrainingHow, model: tuple[Manifest], records: tuple[Manifest]) -> None:
    out = train_resumably(
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
        how.restarts,
    )
    run.keep(out, "model", "steps.parquet", "speed.parquet")
