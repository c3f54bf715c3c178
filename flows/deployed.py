"""The flows of the deployments: what a person starts from Prefect's UI, a schedule or an API call, by a form.

The form is the schema of the flow's parameters: what it says of a field, and what it refuses, stands here.
"""

from typing import Annotated

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows import ablating, ablation, evaluating
from flows.evaluation import chains
from flows.examination import load_examination
from flows.forms import KNOBS, Override, Pools, chosen
from flows.fusion import fusion
from flows.gc import collect, pinned
from flows.matrix_table import matrix_table
from flows.orchestrate import PAGE, bring_all, carry_out, run_name
from flows.place import Place
from flows.recipe import load
from flows.verdict import summary
from infra.errors import BadInput, ProgramFailed
from infra.notify import tell
from infra.settings import settings
from tasks.stage import Seed

STARTS = 10  # a run that crashes again and again is not started for ever
Positive = Annotated[float, Field(gt=0)]


def notify(flow, run, state) -> None:
    if settings().webhook:
        tell(settings().webhook, f"{run.name}: {state.name.lower()}{f', {state.message}' if state.message else ''}")


TOLD = {name: [notify] for name in ("on_completion", "on_failure", "on_crashed", "on_cancellation")}


def refuse_endless_starts() -> None:
    if (flow_run.run_count or 0) > STARTS:
        raise BadInput(f"this run was started {STARTS} times; a new run goes on where it was")


def refuse_failures(failed: dict[str, str]) -> None:
    if failed:
        raise ProgramFailed("; ".join(f"{address}: {reason}" for address, reason in failed.items()))


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
        seed: Seeds every stage that states no seed of its own. Empty: as the recipe says, here and below.
        samples_per_prompt: How many responses every source model gives to a prompt. More extend those that are there.
        temperature: How freely the models answer; 0 is greedy decoding.
        sft_learning_rate: The peak learning rate of supervised fine-tuning.
        wrpo_learning_rate: The peak learning rate of preference optimisation.
        beta: How strongly preference optimisation holds on to the model it starts from.
        overrides: Any other field of the recipe, as FIELD=VALUE, for example prompts.path=s3://bucket/prompts.jsonl.
        pools: Where the heavy stages run.
    """
    refuse_endless_starts()
    values = {knob: value for knob, value in locals().items() if knob in KNOBS}
    return carry_out(chosen({**values, "recipe": recipe, "overrides": overrides, "pools": pools}))


@flow(name="ablate", flow_run_name="{matrix}", **TOLD, **PAGE)
def ablate(
    matrix: str,
    base: str | None = None,
    only: list[str] = [],  # noqa: B006
    overrides: list[Override] = [],  # noqa: B006
    pools: Pools = Pools(),  # noqa: B008
) -> str:
    """Runs the variants of a matrix, what they share once, and says what each of them changed.

    Args:
        matrix: A shipped matrix's name (demo, objectives, alpha, …), or the path of a TOML file on the worker.
        base: The recipe that all variants start from. Empty: as the matrix says.
        only: Names of variants to run; the base runs with them. Empty: all.
        overrides: Fields of the base recipe, as FIELD=VALUE.
        pools: Where the heavy stages run.
    """
    refuse_endless_starts()
    found, every = ablation.load_matrix(matrix, base, [*overrides, *pools.overrides()])
    failed = bring_all([run.last for run in ablation.chosen(every, only)])
    place = Place.from_settings()
    table = matrix_table(found, every, place.store, failed)
    share = lambda cell: f"{cell['estimate']['value']:.1%}" if cell else "–"
    create_table_artifact(
        key="matrix",
        description="on the same held-out prompts",
        table=[
            {"variant": row["variant"], "state": row["state"]}
            | {metric.replace("_", " "): share(cell) for metric, cell in row.get("metrics", {}).items()}
            for row in table["rows"]
        ],
    )
    refuse_failures(failed)
    return ablating.write_page(table, place).as_uri()


@flow(name="evaluate", flow_run_name="{examination}", **TOLD, **PAGE)
def evaluate(
    examination: str,
    overrides: list[Override] = [],  # noqa: B006
    sampling_pool: str | None = None,
) -> str:
    """Evaluates models on suites, without fusing anything.

    Args:
        examination: The path of an examination's TOML file on the worker: which models, which suites, which judge.
        overrides: Fields of the examination, as FIELD=VALUE.
        sampling_pool: The work pool where the models answer, for example gpu-sample. Empty: the worker that runs the flow.
    """
    refuse_endless_starts()
    pooled = [f"sampling.work_pool={sampling_pool}"] if sampling_pool else []
    asked = load_examination(examination, [*overrides, *pooled])
    lasts = chains(asked)
    failed = bring_all(list(lasts.values()))
    place = Place.from_settings()
    found = summary(asked, lasts, place.store, failed)
    create_table_artifact(
        key="suites",
        description="with intervals",
        table=[
            {"suite": suite["name"], "model": one["model"], "what": one["column"], "value": evaluating.span(one)}
            for suite in found["suites"]
            for one in suite.get("results", [])
        ],
    )
    refuse_failures(failed)
    return evaluating.write_page(found, place).as_uri()


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
