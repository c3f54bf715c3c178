"""A priced plan over real manifests: published speed first, then the store's own; money, budgets, wall time, and what is kept."""

import json

import pytest

from flows.cli.costs import refuse_above_budget
from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.plan import plan_chain
from flows.pricing.estimate import Estimate, Range, estimate_plan
from flows.pricing.kept import keep_estimates
from flows.pricing.machines import MachineKind
from flows.pricing.memory import Space
from flows.pricing.prices import Prices, load_prices
from flows.pricing.schedule import critical_path, wall_seconds
from infra.errors import BadInput
from infra.settings import count_cores
from tasks.stage import lineage
from tests.workplace import as_made


def publish(workplace, step, counts: dict, seconds: float) -> None:
    """The artifact of a step, without files, made on this machine."""
    folder = workplace.folder / "nothing"
    folder.mkdir(exist_ok=True)
    made = as_made(step).model_copy(
        update={"counts": {**counts, "program_seconds": seconds}, "provenance": {"cores": count_cores()}}
    )
    workplace.store.publish(folder, made)


def estimates_of(workplace, *overrides: str, prices: Prices | None = None) -> dict[str, Estimate]:
    last = fusion(load_recipe("demo", list(overrides)))
    found = estimate_plan(plan_chain(last, workplace.store), workplace.store, prices or Prices())
    return {step.label: step for step in found}


def demo_step(label: str):
    return next(step for step in lineage(fusion(load_recipe("demo"))) if step.label == label)


def test_every_step_of_the_demo_has_an_estimate_and_its_source(workplace):
    found = estimates_of(workplace)
    assert len(found) == 36
    assert {step.source for step in found.values()} == {"published"}
    assert all(0 < step.seconds.p50 < step.seconds.p90 for step in found.values())
    assert found["WRPO"].tokens > 0 and found["per-model sampling · mirror"].tokens == 1900 * 5 * 9


def test_own_artifacts_replace_published_speed_and_scale_with_the_work(workplace):
    publish(workplace, demo_step("model · mirror"), {"tokens": 150 * 64 * 20, "steps": 150}, 30.0)
    found = estimates_of(workplace)
    assert "model · mirror" not in found
    other = found["model · sorter"]  # as large, but with another seed
    assert other.source == "same size, 1 artifact" and other.seconds.p50 == pytest.approx(30.0, rel=0.01)
    longer = estimates_of(workplace, "sources.sorter.model.steps=300")["model · sorter"]
    assert longer.seconds.p50 == pytest.approx(60.0, rel=0.1)
    larger = estimates_of(workplace, "sources.sorter.model.hidden=192")["model · sorter"]
    assert larger.source == "another size, 1 artifact" and 45 < larger.seconds.p50 < 120
    assert larger.seconds.p90 / larger.seconds.p50 > other.seconds.p90 / other.seconds.p50
    assert found["model · reward"].source == "published"  # a reward model is trained in another way


def test_artifacts_that_were_interrupted_are_no_evidence(workplace):
    publish(workplace, demo_step("model · mirror"), {"tokens": 9600, "steps": 150, "restarts": 1}, 900.0)
    assert estimates_of(workplace)["model · sorter"].source == "published"


def test_more_samples_cost_only_the_rows_that_are_missing(workplace):
    for step in lineage(demo_step("per-model sampling · mirror")):
        publish(workplace, step, {"rows": 1900, "tokens": 1900 * 8, "by transformers 5": 1900}, 10.0)
    half = estimates_of(workplace, "sampling.n=1")["per-model sampling · mirror"]
    whole = estimates_of(workplace, "sampling.n=8")["per-model sampling · mirror"]
    assert whole.tokens == pytest.approx(8 * half.tokens) and whole.seconds.p50 > 2 * half.seconds.p50


def test_large_models_are_priced_by_gpu_hours(workplace):
    free = [f"sources.{name}.model={{kind='hub', id='a/b-8b', revision='{'0' * 40}'}}" for name in ("mirror", "sorter")]
    prices = Prices(hour={"H100": 2.0})
    found = estimates_of(workplace, *free, prices=prices)["per-model sampling · mirror"]
    assert found.machine == MachineKind("H100", 1, 1, "H100") and found.gpu_hours.p50 > 0
    assert found.dollars == Range(found.gpu_hours.p50 * 2.0, pytest.approx(found.gpu_hours.p90 * 2.0))
    unpriced = estimates_of(workplace, *free)
    assert unpriced["per-model sampling · mirror"].dollars is None
    with pytest.raises(BadInput, match="steps have no price, the first is per-model sampling · mirror on H100"):
        refuse_above_budget(list(unpriced.values()), 500.0)


def test_the_papers_recipe_costs_what_published_runs_cost(workplace):
    """WRPO's own training: 215 minutes on 8 A800, 29 GPU-hours (Table 8 of the paper). The plan's range must hold it."""
    from flows.config.loading import read_recipe_values, validate_recipe

    values = read_recipe_values("wrpo-llama3-8b")
    text = (
        json.dumps(values)
        .replace('"revision": "pin-me"', f'"revision": "{"0" * 40}"')
        .replace('"pin-me"', '"a/judge-8b"')
    )
    values = json.loads(text)
    values["prompts"] = {"kind": "hub", "id": "a/b", "revision": "0" * 40}
    last = fusion(validate_recipe(values, "here"))
    found = estimate_plan(plan_chain(last, workplace.store), workplace.store, Prices(gpu="A800"))
    wrpo = next(step for step in found if step.label == "WRPO")
    assert wrpo.gpu_hours.p50 / 2 < 29 < 2 * wrpo.gpu_hours.p90


def test_a_budget_refuses_what_is_expected_to_cost_more():
    def step(label: str, dollars: float) -> Estimate:
        one = Range(1.0, 2.0)
        cost = Range(dollars, 2 * dollars)
        return Estimate(label, label, one, one, MachineKind("cpu"), one, cost, 0, Space(0, 0, 0), "", 1, (), 0.0)

    steps = [step("a", 300.0), step("b", 199.0)]
    refuse_above_budget(steps, None)
    refuse_above_budget(steps, 500.0)
    with pytest.raises(
        BadInput, match=r"--budget 498: the run is expected to cost 499\.00 dollars; nothing was started"
    ):
        refuse_above_budget(steps, 498.0)
    with pytest.raises(BadInput, match=r"cost 519\.00 dollars, 20\.00 of it spent before"):
        refuse_above_budget(steps, 500.0, spent=20.0)


def test_wall_time_waits_for_inputs_and_room():
    def step(name: str, seconds: float, *needs: str, gpus: int = 0, programs: int = 1) -> Estimate:
        machine, long = MachineKind("H100" if gpus else "cpu", gpus), Range(seconds, 2 * seconds)
        return Estimate(name, name, long, long, machine, long, None, 0, Space(0, 0, 0), "", programs, needs, 0.0)

    two, three = step("a", 10), step("b", 10)
    last = step("c", 5, "a", "b")
    assert wall_seconds([two, three, last], 2, 1, "p50") == 15 and wall_seconds([two, three, last], 1, 1, "p50") == 25
    assert wall_seconds([two, three, last], 2, 1, "p90") == 30
    gpu = [step("a", 10, gpus=2), step("b", 10, gpus=2), step("c", 10, gpus=4), step("d", 10, gpus=2, programs=4)]
    assert wall_seconds(gpu[:2], 2, 4, "p50") == 10 and wall_seconds(gpu[:3], 2, 4, "p50") == 20
    assert wall_seconds(gpu[3:], 2, 4, "p50") == 20  # four programs of two GPUs in two rounds
    assert [one.label for one in critical_path([two, step("x", 1), last])] == ["a", "c"]


def test_the_first_estimate_of_a_step_is_kept(workplace):
    first = estimates_of(workplace)["WRPO"]
    keep_estimates([first], "report/ab", workplace.store)
    other = estimates_of(workplace, "wrpo.epochs=4")["WRPO"]
    changed = Estimate(**{**first.__dict__, "seconds": Range(1.0, 2.0)})
    keep_estimates([changed, other], "report/ab", workplace.store)
    kept = json.loads(workplace.store.blobs.read("_estimates/report/ab.json"))
    assert kept[first.address]["p50"] == round(first.seconds.p50, 3) and other.address in kept


def test_prices_are_a_small_file_and_errors_name_it(tmp_path):
    file = tmp_path / "prices.toml"
    file.write_text(
        'gpu = "H100"\n[hour]\nH100 = 2.49\n[pools]\ngpu-train = "A100"\n[tokens.big]\ninput = 2.0\noutput = 6.0\n'
    )
    prices = load_prices(str(file))
    assert (prices.hour["H100"], prices.pools["gpu-train"], prices.tokens["big"].output) == (2.49, "A100", 6.0)
    file.write_text('gpu = "H1000"')
    with pytest.raises(BadInput, match="unknown kind 'H1000'; known are A100"):
        load_prices(str(file))
    with pytest.raises(BadInput, match="there is no such file"):
        load_prices(str(tmp_path / "none.toml"))
