"""Which steps of a run share an engine's life, in what order they run, and that a work pool's run makes both artifacts."""

from flows.config.loading import load_recipe
from flows.fusion import fusion
from flows.plan import Planned, plan_chain
from flows.run import work_pools
from flows.run.packed_step import pack_step
from flows.run.pool_runs import Errand, attach_run
from flows.run.shared_engines import awaited, in_order
from flows.workspace import Workspace
from infra.store import Store
from tasks.execution import Share, watch_nothing
from tasks.stage import lineage
from tests.addresses import fill_slots
from tests.flows.test_dispatch import server
from tests.responses.test_one_engine import Counting, greedy, samples
from tests.workplace import as_made

__all__ = ["server"]
SUITE = "evaluation.suites=[{suite='checked', name='mine', prompts={kind='skills', count=5, seed=3}}]"


def planned(folder, *overrides: str, recipe: str = "demo", done: tuple[str, ...] = ()) -> dict:
    """label -> the plan's entry"""
    return {entry.step.label: entry for entry in plan(folder, *overrides, recipe=recipe, done=done)}


def plan(folder, *overrides: str, recipe: str = "demo", done: tuple[str, ...] = ()) -> list[Planned]:
    store, chain = Store(str(folder / "store"), folder / "cache"), fusion(load_recipe(recipe, overrides))
    (folder / "file").write_text("x")
    for step in lineage(chain):
        if step.label in done:
            (folder / step.fingerprint).mkdir()
            store.publish(folder / step.fingerprint, as_made(step))
    return plan_chain(chain, store)


def shared(entries: dict) -> dict[str, set[str]]:
    return {label: {step.label for step in entry.beside} for label, entry in entries.items() if entry.beside}


def test_every_models_answers_are_made_in_one_engines_life(tmp_path):
    entries = planned(tmp_path, SUITE)
    names = [source.name for source in load_recipe("demo").sources]
    expected = {f"per-model sampling · {name}": {f"evaluation · answers of {name}"} for name in names}
    expected["per-model sampling · SFT model"] = {"evaluation · answers of SFT", "mine · answers of SFT"}
    for name in ("target", "WRPO"):
        expected[f"evaluation · answers of {name}"] = {f"mine · answers of {name}"}
    assert shared(entries) == expected
    after = entries["evaluation · answers of SFT"]
    assert after.after == entries["per-model sampling · SFT model"].step.address
    assert after.reasons[-1] == "in the same engine as per-model sampling · SFT model"


def test_each_step_comes_after_all_that_it_waits_for(tmp_path):
    entries = plan(tmp_path, SUITE)
    seen = set()
    for entry in in_order(entries):
        assert set(awaited(entry)) <= seen
        seen.add(entry.step.address)
    assert len(seen) == len(entries)


def test_a_step_that_is_there_shares_nothing(tmp_path):
    one = "per-model sampling · mirror"
    assert one not in shared(planned(tmp_path, done=(one,)))


def test_a_step_that_waits_for_other_answers_has_its_own_engine(tmp_path):
    """FuseChat's split counts the prompts that have a pair: it comes after all samples and scores."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n')
    for name in ("wrpo-llama3-8b", "fusechat3-gemma2-9b"):
        entries = planned(tmp_path, *fill_slots(name, tmp_path / "prompts.jsonl"), recipe=name)
        sources = {f"per-model sampling · {source.name}" for source in load_recipe(name).sources}
        assert shared(entries).keys() & sources == (sources if name.startswith("wrpo") else set())


def test_another_engine_is_not_shared(tmp_path):
    entries = planned(tmp_path, "how.engines={mirror={kind='endpoint', urls=['http://127.0.0.1:9/v1'], model='m'}}")
    assert "per-model sampling · mirror" not in shared(entries)


def test_suites_and_examinations_use_a_models_own_engine(tmp_path):
    entries = planned(
        tmp_path, SUITE, "how.engines={SFT={kind='vllm', tensor_parallel=2}}", "how.sampling.work_pool=gpu"
    )
    how = entries["mine · answers of SFT"].step.how
    assert (how.kind, how.gpus, how.work_pool) == ("vllm", 2, "gpu")
    assert entries["mine · answers of target"].step.how.kind == "transformers"


def test_a_pools_run_is_asked_for_both_and_makes_both(server, workplace, monkeypatch):
    here = Workspace(workplace.store, Counting(), workplace.folder)
    for inputs in samples().inputs.values():
        workplace.made(inputs[0])
    for share in (None, Share(number=1, of=2)):
        run = attach_run(Errand(samples(), share, beside=(greedy(),)), here, server)
        assert run.asked["beside"] == [pack_step(greedy()).model_dump(mode="json")]
    monkeypatch.setattr(Workspace, "from_settings", lambda: here)
    monkeypatch.setattr(work_pools, "ProgressArtifact", lambda *step: watch_nothing)
    ended = work_pools.carry_out_stage.fn(pack_step(samples()), here.store.blobs.url, beside=[pack_step(greedy())])
    assert ended.is_completed(), ended.message
    made = [here.store.manifest(*step.address.split("/")) for step in (samples(), greedy())]
    assert [made[0].counts[name] for name in ("rows", "rows_made", "rows_made_beside")] == [18, 18, 9]
    assert [made[1].counts[name] for name in ("rows", "rows_made")] == [9, 0]
    assert len(here.launcher.started) == 1
    before = len(server.runs)
    assert work_pools.dispatch_step(greedy(), here, watch_nothing) and len(server.runs) == before
