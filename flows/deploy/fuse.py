"""The flows of the deployments: what a person starts from Prefect's UI, a schedule or an API call, by a form.

The form is the schema of the flow's parameters: what it says of a field, and what it refuses, stands here.
"""

from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.deploy.forms import KNOBS, Override, Pools, chosen
from flows.deploy.hooks import TOLD, refuse_endless_starts
from flows.run.orchestrate import PAGE, carry_out, run_name
from flows.upkeep.garbage import chains_of, collect, pinned
from flows.workspace import Place
from infra.errors import BadInput
from tasks.stage import Seed

Positive = Annotated[float, Field(gt=0)]


def deployed_run_name() -> str:
    try:
        return run_name(chosen(flow_run.parameters))
    except BadInput:
        return f"{flow_run.parameters['recipe']} · refused"


@flow(name="fuse", flow_run_name=deployed_run_name, **TOLD, **PAGE)
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
        seed: Seeds every stage that states no seed of its own. None: as the recipe says, here and below.
        samples_per_prompt: How many responses every source model gives to a prompt. More extend those that are there.
        temperature: How freely the models answer; 0 is greedy decoding.
        sft_learning_rate: The peak learning rate of supervised fine-tuning.
        wrpo_learning_rate: The peak learning rate of preference optimisation.
        beta: How strongly preference optimisation holds on to the model it starts from.
        overrides: Any other field of the recipe, as FIELD=VALUE: what it leaves open ("pin-me"), or prompts.path=s3://bucket/file.jsonl.
        pools: Which work pool does which heavy stage. None: the worker that runs the flow. No result depends on it.
    """
    refuse_endless_starts()
    values = {knob: value for knob, value in locals().items() if knob in KNOBS}
    return carry_out(chosen({**values, "recipe": recipe, "overrides": overrides, "pools": pools}))


@flow(name="housekeeping", persist_result=False, validate_parameters=True)
def housekeeping(
    keep: list[str],
    keep_matrices: list[str] = [],  # noqa: B006
    keep_examinations: list[str] = [],  # noqa: B006
    older_than_days: Annotated[float, Field(ge=0)] = 30,
    delete: bool = False,
) -> str:
    """Finds what no kept recipe or pinned artifact needs and no running flow uses, and deletes it if told to.

    Args:
        keep: Recipes whose artifacts stay, by name or by path on the worker. Pinned artifacts (fuse pin) stay as well.
        keep_matrices: Matrices whose variants' artifacts stay, likewise.
        keep_examinations: Examinations whose artifacts stay, by path on the worker.
        older_than_days: Only what was last changed so long ago is touched.
        delete: Off: only say what would go.
    """
    store = Place.from_settings().store
    kept = chains_of(keep, keep_matrices, keep_examinations)
    if delete and not kept and not pinned(store):
        raise BadInput("delete: nothing is kept; name the recipes to keep, or pin artifacts with fuse pin")
    found = collect(store, kept, older_than_days, delete)
    create_table_artifact(
        key="garbage",
        description="deleted" if delete else "would be deleted",
        table=[
            {"address": one.address, "MB": round(one.size / 1e6, 1), "days old": round(one.days, 1)} for one in found
        ],
    )
    return f"{len(found)} addresses"
