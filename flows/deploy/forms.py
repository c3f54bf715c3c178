"""Fields of the deployments' forms: overrides, and work pools for the heavy stages."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from flows.config.loading import load_recipe
from flows.config.recipe import Recipe

Override = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*=.*$", examples=["wrpo.schedule.kind=cosine"])]
KNOBS = {
    "seed": "seed",
    "samples_per_prompt": "sampling.n",
    "temperature": "sampling.temperature",
    "sft_learning_rate": "sft.learning_rate",
    "wrpo_learning_rate": "wrpo.learning_rate",
    "beta": "wrpo.beta",
}


class Pools(BaseModel, extra="forbid"):
    """The work pool of each heavy stage. None: the worker that runs the flow also runs the stage. Changes no result."""

    sampling: str | None = Field(
        default=None, title="Per-model sampling", description="a work pool, for example gpu-sample"
    )
    scoring: str | None = Field(
        default=None, title="Reward annotation", description="a work pool, for example gpu-score"
    )
    sft: str | None = Field(default=None, title="SFT", description="a work pool, for example gpu-train")
    wrpo: str | None = Field(default=None, title="WRPO", description="a work pool, for example gpu-train")

    def overrides(self) -> list[str]:
        return [f"how.{stage}.work_pool={pool}" for stage, pool in self if pool]


def read_form(values: dict[str, Any]) -> Recipe:
    """The recipe that a filled-in form describes."""
    known = [f"{field}={values[knob]!r}" for knob, field in KNOBS.items() if values.get(knob) is not None]
    pools = Pools.model_validate(values["pools"]).overrides()
    return load_recipe(values["recipe"], [*known, *values.get("overrides", ()), *pools])
