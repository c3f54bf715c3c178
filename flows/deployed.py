"""The flows of the deployments: what a person starts from Prefect's UI, a schedule or an API call, by a form.

The form is the schema of the flow's parameters: what it says of a field, and what it refuses, stands here.
"""

from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from flows.fusion import fusion
from flows.gc import collect, pinned
from flows.orchestrate import PAGE, carry_out, run_name
from flows.place import Place
from flows.recipe import Recipe, load
from infra.errors import BadInput
from infra.notify import tell
from infra.settings import settings
from tasks.stage import Seed

STARTS = 10  # a run that crashes again and again is not started for ever
Positive = Annotated[float, Field(gt=0)]
Override = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.-]*=.*$", examples=["wrpo.schedule.kind=cosine"])]


class Pools(BaseModel, extra="forbid"):
    """Which work pool does which stage. Empty: the worker that runs the flow does it itself. No result depends on it."""

    sampling: str | None = Field(None, title="Per-model sampling", description="for example gpu-sample")
    scoring: str | None = Field(None, title="Reward annotation", description="for example gpu-score")
    sft: str | None = Field(None, title="SFT", description="for example gpu-train")
    wrpo: str | None = Field(None, title="WRPO", description="for example gpu-train")

    def overrides(self) -> list[str]:
        return [f"how.{stage}.work_pool={pool}" for stage, pool in self if pool]


KNOBS = {
    "seed": "seed",
    "samples_per_prompt": "sampling.n",
    "temperature": "sampling.temperature",
    "sft_learning_rate": "sft.learning_rate",
    "wrpo_learning_rate": "wrpo.learning_rate",
    "beta": "wrpo.beta",
}


def chosen(values: dict) -> Recipe:
    """The recipe that a filled-in form stands for."""
    known = [f"{field}={values[knob]!r}" for knob, field in KNOBS.items() if values.get(knob) is not None]
    return load(
        values["recipe"], [*known, *values.get("overrides", ()), *Pools.model_validate(values["pools"]).overrides()]
    )


def deployed_run_name() -> str:
    try:
        return run_name(chosen(flow_run.parameters))
    except BadInput:
        return f"{flow_run.parameters['recipe']} · refused"


def notify(flow, run, state) -> None:
    if settings().webhook:
        tell(settings().webhook, f"{run.name}: {state.name.lower()}{f', {state.message}' if state.message else ''}")


@flow(name="housekeeping", persist_result=False, validate_parameters=True)
def housekeeping(
    keep: list[str],
    older_than_days: Annotated[float, Field(ge=0)] = 30,
    delete: bool = False,
) -> str:
    """Finds what no kept recipe or pinned artifact needs and no running flow uses, and deletes it if told to.

    Args:
        keep: Recipes whose artifacts stay, by name or by path on the worker. Pinned artifacts (fuse pin) stay as well.
        older_than_days: Only what was last changed so long ago is touched.
        delete: Off: only say what would go.
    """
    store = Place.from_settings().store
    if delete and not keep and not pinned(store):
        raise BadInput("delete: nothing is kept; name the recipes to keep, or pin artifacts with fuse pin")
    found = collect(store, [fusion(load(recipe)) for recipe in keep], older_than_days, delete)
    create_table_artifact(
        key="garbage",
        description="deleted" if delete else "would be deleted",
        table=[
            {"address": one.address, "MB": round(one.size / 1e6, 1), "days old": round(one.days, 1)} for one in found
        ],
    )
    return f"{len(found)} addresses"


@flow(
    name="fuse",
    flow_run_name=deployed_run_name,
    on_completion=[notify],
    on_failure=[notify],
    on_crashed=[notify],
    on_cancellation=[notify],
    **PAGE,
)
def fuse(
    recipe: str,
    seed: Seed | None = None,
    samples_per_prompt: Annotated[int, Field(gt=0)] | None = None,
    temperature: Annotated[float, Field(ge=0)] | None = None,
    sft_learning_rate: Positive | None = None,
    wrpo_learning_rate: Positive | None = None,
    beta: Positive | None = None,
    overrides: list[Override] = [],  # noqa: B006 - the form shows it, nobody changes it
    pools: Pools = Pools(),  # noqa: B008
) -> dict:
    """Fuses several source language models into one target model by preference optimisation (WRPO). What is already in
    the store is found, not made again; a run that failed or crashed goes on where it was when you retry it.

    Args:
        recipe: A shipped recipe's name (demo, wrpo-llama3-8b, fusechat3-qwen2.5-7b, …), or the path of a TOML file on the worker.
        seed: Seeds every stage that states no seed of its own. Empty: as the recipe says, here and below.
        samples_per_prompt: How many responses every source model gives to a prompt. More extend those that are there.
        temperature: How freely the models answer; 0 is greedy decoding.
        sft_learning_rate: The peak learning rate of supervised fine-tuning.
        wrpo_learning_rate: The peak learning rate of preference optimisation.
        beta: How strongly preference optimisation holds on to the model it starts from.
        overrides: Any other field of the recipe, as FIELD=VALUE, for example prompts.path=s3://bucket/prompts.jsonl.
        pools: Where the heavy stages run.
    """
    if (flow_run.run_count or 0) > STARTS:
        raise BadInput(f"this run was started {STARTS} times; a new run goes on where it was")
    values = {knob: value for knob, value in locals().items() if knob in KNOBS}
    return carry_out(chosen({**values, "recipe": recipe, "overrides": overrides, "pools": pools}))
