"""The flows of the deployments `fuse` and `housekeeping`: started by a form in Prefect's UI, a schedule or an API call.

Prefect builds the form from the flow's parameters: their types validate it, and the docstring describes its fields.
"""

from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.deploy.forms import KNOBS, Override, Pools, read_form
from flows.deploy.hooks import WEBHOOK_HOOKS, refuse_endless_starts
from flows.run.orchestrate import FLOW_OPTIONS, name_run, run_recipe
from flows.upkeep.garbage import chains_of, collect_garbage, list_pinned
from flows.workspace import Workspace
from infra.errors import BadInput
from tasks.stage import Seed

Positive = Annotated[float, Field(gt=0)]


def deployed_run_name() -> str:
    try:
        return name_run(read_form(flow_run.parameters))
    except BadInput:
        return f"{flow_run.parameters['recipe']} · refused"


@flow(name="fuse", flow_run_name=deployed_run_name, **WEBHOOK_HOOKS, **FLOW_OPTIONS)
def fuse(
    recipe: str,
    seed: Seed | None = None,
    samples_per_prompt: Annotated[int, Field(gt=0)] | None = None,
    temperature: Annotated[float, Field(ge=0)] | None = None,
    sft_learning_rate: Positive | None = None,
    wrpo_learning_rate: Positive | None = None,
    beta: Positive | None = None,
    overrides: list[Override] = [],  # noqa: B006 - the form shows it, no code changes it
    pools: Pools = Pools(),  # noqa: B008
) -> dict:
    """Fuses several source language models into one target model by preference optimisation (WRPO). Steps that are already
    in the store are not run again; a run that failed or crashed continues where it stopped when you retry it.

    Args:
        recipe: A shipped recipe's name (demo, wrpo-llama3-8b, fusechat3-qwen2.5-7b, …), or the path of a TOML file on the worker.
        seed: Seeds every stage that has no seed in the recipe. None, here and below: the recipe's value.
        samples_per_prompt: Number of responses of every source model to a prompt. A higher number keeps the existing responses.
        temperature: The sampling temperature; 0 is greedy decoding.
        sft_learning_rate: The peak learning rate of supervised fine-tuning.
        wrpo_learning_rate: The peak learning rate of preference optimisation.
        beta: How strongly preference optimisation stays close to its starting model.
        overrides: Any other field of the recipe, as FIELD=VALUE: open fields ("pin-me"), or for example prompts.path=s3://bucket/file.jsonl.
        pools: The work pool of each heavy stage. None: the worker that runs the flow. Changes no result.
    """
    refuse_endless_starts()
    values = {knob: value for knob, value in locals().items() if knob in KNOBS}
    return run_recipe(read_form({**values, "recipe": recipe, "overrides": overrides, "pools": pools}))


@flow(name="housekeeping", persist_result=False, validate_parameters=True)
def housekeeping(
    keep: list[str],
    keep_matrices: list[str] = [],  # noqa: B006
    keep_examinations: list[str] = [],  # noqa: B006
    older_than_days: Annotated[float, Field(ge=0)] = 30,
    delete: bool = False,
) -> str:
    """Lists artifacts that are not needed by a kept recipe, a pinned artifact or a running flow, and deletes them if asked.

    Args:
        keep: Recipes whose artifacts stay, by name or by path on the worker. Pinned artifacts (fuse pin) stay as well.
        keep_matrices: Matrices whose variants' artifacts stay, by name or by path on the worker.
        keep_examinations: Examinations whose artifacts stay, by path on the worker.
        older_than_days: Only artifacts that were last changed at least this number of days ago.
        delete: Delete the artifacts. Off: only list them.
    """
    store = Workspace.from_settings().store
    kept = chains_of(keep, keep_matrices, keep_examinations)
    if delete and not kept and not list_pinned(store):
        raise BadInput("delete: nothing is kept; name the recipes to keep, or pin artifacts with fuse pin")
    found = collect_garbage(store, kept, older_than_days, delete)
    create_table_artifact(
        key="garbage",
        description="deleted" if delete else "would be deleted",
        table=[
            {"address": item.address, "MB": round(item.size / 1e6, 1), "days old": round(item.days, 1)}
            for item in found
        ],
    )
    return f"{len(found)} addresses"
