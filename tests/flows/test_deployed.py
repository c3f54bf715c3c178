"""The deployments: what prefect.yaml names exists, the form stands for the recipe it says, wrong values are refused."""

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object

from flows.config.loading import SHIPPED, load_recipe, read_recipe_values
from flows.config.recipe import find_open_slots
from flows.deploy.forms import KNOBS, read_form
from flows.deploy.fuse import fuse, housekeeping
from flows.deploy.register import POOLS
from flows.deploy.studies import ablate, evaluate
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.stage import lineage

CHOOSING = ["evaluation.collectives=[{ name = 'least', model = { kind = 'lowest-perplexity' } }]"]
ROOT = Path(__file__).parents[2]
TARGETS = {
    "wrpo-llama3-8b",
    "fusechat3-llama3.1-8b",
    "fusechat3-qwen2.5-7b",
    "fusechat3-gemma2-9b",
    "fusechat3-llama3.2-3b",
    "fusechat3-llama3.2-1b",
}


@pytest.fixture(scope="module")
def deployments():
    return {each["name"]: each for each in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


def refused(flow, parameters) -> list[str]:
    """As the server checks a form before it makes a run."""
    return [
        error.message
        for error in Draft202012Validator(parameter_schema(flow).model_dump_for_openapi()).iter_errors(parameters)
    ]


def test_there_is_a_deployment_for_every_target_and_for_every_pool(deployments):
    stages = {
        name for name, each in deployments.items() if each["entrypoint"] == "flows.run.work_pools.carry_out_stage"
    }
    assert stages == set(POOLS) - {"cpu"} and all(deployments[name]["work_pool"]["name"] == name for name in stages)
    assert set(deployments) == stages | TARGETS | {"demo", "ablation", "evaluation", "housekeeping"}


def test_every_entrypoint_exists_and_takes_its_parameters(deployments):
    for each in deployments.values():
        flow = import_object(each["entrypoint"])
        if parameters := each.get("parameters"):
            given = {"examination": "examination.toml"} if flow is evaluate else {}
            assert refused(flow, given | parameters) == []
    assert all((SHIPPED / f"{deployments[name]['parameters']['recipe']}.toml").is_file() for name in TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS | {"demo"}))
def test_the_deployment_s_pools_reach_every_step_that_needs_a_gpu(deployments, name):
    given = deployments[name]["parameters"]
    open_slots = {
        field: "org/judge" if field.endswith(".id") else "a" * 40
        for field in find_open_slots(read_recipe_values(given["recipe"]))
    }
    filled = [f"{field}={value}" for field, value in open_slots.items() if not field.startswith("prompts")]
    filled += ["prompts={ kind = 'skills', count = 60 }", *CHOOSING]
    heavy = [step for step in lineage(fusion(read_form(given | {"overrides": filled}))) if step.gpus]
    where = {"per-model sampling": "sampling", "evaluation": "sampling", "reward annotation": "scoring", "SFT": "sft"}
    expected = {step.label: given["pools"][where.get(step.title, "wrpo")] for step in heavy}
    expected |= {step.label: given["pools"]["scoring"] for step in heavy if step.stage.name == "reward-annotation"}
    assert {step.label: step.how.work_pool for step in heavy} == expected
    assert any("perplexity" in label for label in expected)


def test_an_engine_s_own_pool_and_an_endpoint_keep_their_places():
    own = "{ kind = 'vllm', work_pool = 'big' }"
    there = "{ kind = 'endpoint', urls = ['http://127.0.0.1:1/v1'], model = 'm' }"
    recipe = load_recipe(
        "demo", ["how.sampling.work_pool=gpu-sample", f"how.engines.mirror={own}", f"how.engines.sorter={there}"]
    )
    pools = {name: recipe.how.engine(name).work_pool for name in ("mirror", "sorter", "roller", "WRPO")}
    assert pools == {"mirror": "big", "sorter": None, "roller": "gpu-sample", "WRPO": "gpu-sample"}


def test_every_schedule_is_there_and_paused(deployments):
    for name in TARGETS | {"demo", "ablation", "housekeeping"}:
        assert [schedule["active"] for schedule in deployments[name]["schedules"]] == [False]


@pytest.mark.parametrize(
    "wrong",
    [
        {"beta": 0},
        {"seed": -1},
        {"samples_per_prompt": 2.5},
        {"temperature": "hot"},
        {"overrides": ["beta"]},
        {"pools": {"train": "gpu"}},
    ],
)
def test_the_form_refuses_wrong_values(wrong):
    assert refused(fuse, {"recipe": "demo"}) == []
    assert refused(fuse, {"recipe": "demo", **wrong})


def test_every_field_of_a_form_is_explained():
    for flow in (fuse, ablate, evaluate, housekeeping):
        properties = parameter_schema(flow).model_dump_for_openapi()["properties"]
        assert all(len(each.get("description", "")) > 15 for each in properties.values()), flow.name


def test_a_form_stands_for_the_recipe_with_these_overrides():
    values = {"recipe": "demo", "beta": 0.25, "seed": 7, "overrides": ["wrpo.schedule.kind=cosine"]}
    pools = {"sampling": "gpu-sample", "wrpo": "gpu-train"}
    expected = load_recipe(
        "demo",
        [
            "wrpo.beta=0.25",
            "seed=7",
            "wrpo.schedule.kind=cosine",
            "how.sampling.work_pool=gpu-sample",
            "how.wrpo.work_pool=gpu-train",
        ],
    )
    assert read_form({**values, "pools": pools}) == expected
    assert read_form({"recipe": "demo", "pools": {}}) == load_recipe("demo")


def test_every_knob_turns_a_field_of_every_targets_recipe():
    for name in TARGETS | {"demo"}:
        for knob in KNOBS:
            assert read_form({"recipe": name, knob: 3, "pools": {}}) != load_recipe(name), (name, knob)


def test_a_recipe_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="no shipped recipe"):
        read_form({"recipe": "demoo", "pools": {}})


@pytest.mark.parametrize(("status", "passes"), [(503, True), (429, True), (404, False), (409, False)])
def test_a_busy_server_may_pass_and_a_refusal_does_not(status, passes):
    import httpx
    from prefect.states import Failed

    from flows.run.orchestrate import is_retryable

    request = httpx.Request("GET", "http://127.0.0.1/api")
    problem = httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))
    assert is_retryable(None, None, Failed(data=problem)) is passes
