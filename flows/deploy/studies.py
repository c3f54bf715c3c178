"""The flows of the deployments `ablate` and `evaluate`: the variants of a matrix, and an evaluation without training."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from flows import ablation
from flows.config.examination import load_examination
from flows.deploy.forms import Override, Pools
from flows.deploy.hooks import WEBHOOK_HOOKS, refuse_endless_starts, refuse_failures
from flows.evaluation import build_chains
from flows.results.examination import summarise_examination
from flows.results.matrix import matrix_table
from flows.results.matrix_text import column_title, matrix_cells
from flows.results.pages import write_examination_page, write_matrix_page
from flows.run.orchestrate import FLOW_OPTIONS, ensure_all
from flows.workspace import Workspace


def study_run_name() -> str:
    """The name of the study's file, without its folder."""
    parameters = flow_run.parameters
    return Path(parameters.get("matrix") or parameters["examination"]).stem


@flow(name="ablate", flow_run_name=study_run_name, **WEBHOOK_HOOKS, **FLOW_OPTIONS)
def ablate(
    matrix: str,
    base: str | None = None,
    only: list[str] = [],  # noqa: B006
    overrides: list[Override] = [],  # noqa: B006
    pools: Pools = Pools(),  # noqa: B008
) -> str:
    """Runs the variants of a matrix (shared steps run once) and compares each of them with the base.

    Args:
        matrix: A shipped matrix's name (demo, objectives, alpha, …), or the path of a TOML file on the worker.
        base: The recipe that all variants start from. None: the matrix's base recipe.
        only: Names of variants to run; the base runs with them. Empty: all.
        overrides: Fields of the base recipe, as FIELD=VALUE.
        pools: The work pool of each heavy stage. None: the worker that runs the flow. Changes no result.
    """
    refuse_endless_starts()
    loaded, runs = ablation.load_matrix(matrix, base, [*overrides, *pools.overrides()])
    failed = ensure_all(ablation.list_goals(ablation.choose_variants(runs, only)))
    place = Workspace.from_settings()
    table = matrix_table(loaded, runs, place.store, failed)
    create_table_artifact(
        key="matrix",
        description="on the same held-out prompts",
        table=[
            {"variant": row["variant"], "state": row["state"]}
            | {column_title(column): matrix_cells(row, column)[0] for column in table["columns"]}
            for row in table["rows"]
        ],
    )
    page = write_matrix_page(table, place.workspace).absolute().as_uri()
    refuse_failures(failed)  # last, so that the page is written even if some variants failed
    return page


@flow(name="evaluate", flow_run_name=study_run_name, **WEBHOOK_HOOKS, **FLOW_OPTIONS)
def evaluate(
    examination: str,
    overrides: list[Override] = [],  # noqa: B006
    sampling_pool: str | None = None,
) -> str:
    """Evaluates models on suites, without fusing anything.

    Args:
        examination: The path of an examination's TOML file on the worker: which models, which suites, which judge.
        overrides: Fields of the examination, as FIELD=VALUE.
        sampling_pool: The work pool where the models answer, for example gpu-sample. None: the worker that runs the flow.
    """
    refuse_endless_starts()
    pooled = [f"sampling.work_pool={sampling_pool}"] if sampling_pool else []
    loaded = load_examination(examination, [*overrides, *pooled])
    lasts = build_chains(loaded)
    failed = ensure_all(list(lasts.values()))
    place = Workspace.from_settings()
    found = summarise_examination(loaded, lasts, place.store, failed)
    create_table_artifact(
        key="suites",
        description="with intervals",
        table=[
            {
                "suite": suite["name"],
                "model": result["model"],
                "what": result["column"],
                "value": format_interval(result),
            }
            for suite in found["suites"]
            for result in suite.get("results", [])
        ],
    )
    if found["gate"]:
        passed = "passed" if found["gate"]["passed"] else f"not passed: {'; '.join(found['gate']['against'])}"
        create_markdown_artifact(key="gate", markdown=f"The gate is {passed}.")
    page = write_examination_page(found, place.workspace).absolute().as_uri()
    refuse_failures(failed)
    return page


def format_interval(result: dict) -> str:
    return f"{result['value']:.2f} [{result['low']:.2f}, {result['high']:.2f}]"
