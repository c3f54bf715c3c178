"""Matrices: sparse overrides, what is shared, and a table in which nothing that was not run looks like a number."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from flows.ablation import choose_variants, count_steps, load_matrix
from flows.cli.ablate import show_matrix
from flows.cli.console import make_console
from flows.config.matrix import SHIPPED
from flows.plan import plan_all
from flows.results.matrix import matrix_table
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.report.matrix import render_matrix_page
from tasks.stage import lineage

MATRIX = """
name = "small"
base = "demo"
set = {{ "prompts.count" = 300 }}
{variants}
"""
VARIANT = """
[[variants]]
name = "{name}"
hypothesis = "{name} matters"
expects = "worse"
{rest}
"""


def write(folder, *variants: tuple[str, str], more: str = ""):
    text = "".join(VARIANT.format(name=name, rest=rest) for name, rest in variants)
    (folder / "matrix.toml").write_text(MATRIX.format(variants=text + more))
    return str(folder / "matrix.toml")


def names(steps):
    return {step.label for step in steps}


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.toml")), ids=lambda file: file.stem)
def test_a_shipped_matrix_is_read_whole_and_every_variant_is_a_recipe(file):
    matrix, runs = load_matrix(file.stem)
    assert matrix.name == file.stem and len(runs) > 1
    decisions = [run.recipe.model_dump(mode="json", exclude={"name", "how"}) for run in runs]
    alike = [run.variant.name for place, run in enumerate(runs) if decisions[place] in decisions[:place]]
    assert alike == (["linear-0.1"] if file.stem == "alpha" else [])  # the base's own weight, as Figure 5 has it too


def test_a_variant_shares_every_stage_that_its_overrides_do_not_reach(tmp_path):
    _, (full, variant) = load_matrix(write(tmp_path, ("beta", 'set = { "wrpo.beta" = 0.5 }')))
    new = {step.address for step in lineage(variant.last)} - {step.address for step in lineage(full.last)}
    own = [step for step in lineage(variant.last) if step.address in new]
    after = {"evaluation · answers of WRPO", "evaluation · checks of WRPO", "evaluation · judging"}
    after |= {"evaluation · results", "report"}
    assert names(own) == {"WRPO", *after}
    assert count_steps([full, variant]) == (2 * len(lineage(full.last)), len(lineage(full.last)) + len(new))


def test_a_plan_of_all_counts_what_is_shared_once(tmp_path, workplace):
    _, runs = load_matrix(
        write(tmp_path, ("beta", 'set = { "wrpo.beta" = 0.5 }'), ("rank", 'set = { "pairs.rank" = 2 }'))
    )
    planned = plan_all([run.last for run in runs], workplace.store)
    assert len(planned) == count_steps(runs)[1] and all(one.runs for one in planned)
    places = {one.step.address: place for place, one in enumerate(planned)}
    for one in planned:
        assert all(
            places[item.address] < places[one.step.address] for items in one.step.inputs.values() for item in items
        )


def test_without_sft_the_target_itself_is_optimised(tmp_path):
    _, (_, variant) = load_matrix(write(tmp_path, ("no-sft", 'set = { "sft.form" = "none" }')))
    steps = {step.label: step for step in lineage(variant.last)}
    assert "SFT" not in steps and steps["WRPO"].inputs["model"] == (steps["model · target"],)
    assert steps["evaluation · results"].what.models == ("target", "WRPO") and steps["report"].inputs["sft"] == ()


def test_a_sweep_makes_a_variant_of_every_combination(tmp_path):
    sweep = """
[[sweeps]]
name = "s"
hypothesis = "both matter"
over = { "wrpo.alpha" = [0.1, 0.9], "wrpo.schedule.kind" = ["linear", "static"] }
"""
    _, runs = load_matrix(write(tmp_path, more=sweep))
    assert [run.variant.name for run in runs[1:]] == ["s-0.1-linear", "s-0.1-static", "s-0.9-linear", "s-0.9-static"]
    assert [run.recipe.wrpo.alpha for run in runs[1:]] == [0.1, 0.1, 0.9, 0.9]


def test_overrides_of_the_base_reach_every_variant(tmp_path):
    file = write(tmp_path, ("beta", 'set = { "wrpo.beta" = 0.5 }'))
    _, runs = load_matrix(file, overrides=["sampling.n=3"])
    assert [(run.recipe.sampling.n, run.recipe.prompts.count) for run in runs] == [(3, 300)] * 2
    (tmp_path / "other.toml").write_text(
        (SHIPPED.parent / "recipes" / "demo.toml").read_text().replace("seed = 1", "seed = 8")
    )
    matrix, runs = load_matrix(file, base=str(tmp_path / "other.toml"))
    assert runs[1].recipe.seed == 8 and matrix.base.endswith("other.toml")


@pytest.mark.parametrize(
    ("variant", "complaint"),
    [
        (("bad", 'set = { "wrpo.bete" = 1.0 }'), "variant bad: wrpo.bete: there is no such field"),
        (("bad", 'drop = ["wrpo.gamma"]'), "variant bad: drop: the base has no wrpo.gamma"),
        (("bad", 'set = { "seed.x" = 1 }'), "variant bad: seed is a value, not a section"),
        (("full", ""), "the name 'full' is taken"),
        (("bad", '\n[[sweeps]]\nname = "s"\nhypothesis = "h"\nover = { "wrpo.beta" = [] }'), "sweeps.0.over"),
        (("bad", '\n[[sweeps]]\nname = "s"\nhypothesis = "h"\nover = { "pairs.sources" = [["a"]] }'), "sweep s"),
        (("Bad", ""), "variants.0.name: String should match pattern"),
    ],
)
def test_a_mistake_is_named_with_its_variant(tmp_path, variant, complaint):
    with pytest.raises(BadInput) as problem:
        load_matrix(write(tmp_path, variant))
    assert complaint in str(problem.value)


def test_only_some_variants_may_be_chosen_and_the_base_is_among_them(tmp_path):
    _, runs = load_matrix(write(tmp_path, ("a", 'set = { "wrpo.beta" = 0.5 }'), ("b", 'set = { "wrpo.beta" = 0.6 }')))
    assert [run.variant.name for run in choose_variants(runs, ["b"])] == ["full", "b"]
    with pytest.raises(BadInput, match="--only c: there is no such variant"):
        choose_variants(runs, ["c"])


def evaluated(
    workplace, run, correct: np.ndarray, wins: np.ndarray, first: int = 0, obstacle: str | None = None
) -> None:
    """Puts the evaluation of a variant into the store, as if it had been run."""
    folder = workplace.folder / run.variant.name
    folder.mkdir()
    rows = pd.DataFrame(
        {"prompt_id": [f"p{first + n:03d}" for n in range(len(correct))], "correct": correct, "win_rate": wins}
    )
    both = pd.concat([rows.assign(model="WRPO"), rows.assign(model="target", correct=False, win_rate=0.0)])
    both.sample(frac=1, random_state=1).to_parquet(folder / "answers.parquet", index=False)
    (folder / "results.json").write_text(json.dumps({"no_accuracy": obstacle}))
    step = run.evaluation
    empty = {"inputs": {}, "files": (), "counts": {}, "provenance": {}, "started": "", "seconds": 0, "attempt": "a"}
    named = {"stage": step.stage.name, "version": "1", "fingerprint": step.fingerprint, "label": step.label, "what": {}}
    workplace.store.publish(folder, Manifest(**named, **empty))


@pytest.fixture
def tabled(tmp_path, workplace):
    betas = {"a": 0.2, "b": 0.3, "c": 0.4, "d": 0.5}
    variants = [(name, f'set = {{ "wrpo.beta" = {beta} }}') for name, beta in betas.items()]
    matrix, runs = load_matrix(write(tmp_path, *variants))
    draw = np.random.default_rng(1)
    base, wins = draw.random(200) < 0.7, draw.random(200)
    evaluated(workplace, runs[0], base, wins)
    evaluated(workplace, runs[1], base & (draw.random(200) < 0.6), wins - 0.3)
    evaluated(workplace, runs[2], base, wins + np.tile([-0.05, 0.05], 100))
    failed = {next(step.address for step in lineage(runs[3].last) if step.label == "WRPO"): "no memory"}
    return matrix_table(matrix, runs, workplace.store, failed)


def test_what_was_not_run_or_failed_has_no_number(tabled):
    states = {row["variant"]: row["state"] for row in tabled["rows"]}
    assert states == {"full": "done", "a": "done", "b": "done", "c": "failed: WRPO", "d": "not run"}
    for row in tabled["rows"][3:]:
        assert row["metrics"] == {"accuracy": None, "win_rate": None}
    page = render_matrix_page(tabled)
    for metric in ("accuracy", "win_rate"):
        section = page.partition(f'<section id="{metric}">')[2].partition("</section>")[0]
        rows = dict(re.findall(r"<tr><td>([cd])</td>(.*?)</tr>", section))
        assert set(rows) == {"c", "d"} and not re.search(r"\d", "".join(rows.values()).replace("failed: WRPO", ""))


def test_a_variant_without_accuracy_says_why(tmp_path, workplace, capsys):
    matrix, runs = load_matrix(write(tmp_path, ("a", 'set = { "wrpo.beta" = 0.2 }')))
    wins = np.random.default_rng(1).random(20)
    for run in runs:
        evaluated(workplace, run, np.full(20, None), wins, obstacle="the recipe has no [checks]")
    table = matrix_table(matrix, runs, workplace.store)
    assert [row["metrics"]["accuracy"] for row in table["rows"]] == [None, None]
    section = render_matrix_page(table).partition('<section id="accuracy">')[2].partition("</section>")[0]
    (row,) = re.findall(r"<tr><td>a</td>(.*?)</tr>", section)
    assert "the recipe has no [checks]" in row and ">–<" in row and not re.search(r"\d", row)
    show_matrix(make_console(), table)
    assert "a: no accuracy, because the recipe has no [checks]" in capsys.readouterr().out


def test_differences_are_paired_and_corrected_over_the_matrix(tabled):
    full, worse, same = (
        {name: cell["difference"] for name, cell in row["metrics"].items()} for row in tabled["rows"][:3]
    )
    assert full["accuracy"] is None
    assert worse["accuracy"]["reading"] == worse["win_rate"]["reading"] == "lower"
    assert worse["win_rate"]["value"] == pytest.approx(-0.3)
    assert worse["win_rate"]["high"] - worse["win_rate"]["low"] == pytest.approx(0)  # paired
    assert same["accuracy"]["p"] == same["accuracy"]["holm"] == 1 and same["win_rate"]["reading"] == "within noise"
    claims = [one for row in (worse, same) for one in row.values()]
    assert all(one["holm"] >= one["p"] for one in claims) and min(one["holm"] / one["p"] for one in claims[:2]) >= 3


def test_a_variant_with_other_prompts_is_compared_with_nothing(tmp_path, workplace):
    matrix, runs = load_matrix(write(tmp_path, *((name, f"set = {{ seed = {n} }}") for n, name in enumerate("ab", 7))))
    draw = np.random.default_rng(1)
    evaluated(workplace, runs[1], draw.random(50) < 0.5, draw.random(50))
    without_base = matrix_table(matrix, runs, workplace.store)
    evaluated(workplace, runs[0], draw.random(50) < 0.5, draw.random(50), first=40)
    evaluated(workplace, runs[2], draw.random(50) < 0.5, draw.random(50), first=1000)
    for table, alone in ((without_base, 1), (matrix_table(matrix, runs, workplace.store), 2)):
        found = table["rows"][alone]["metrics"]["accuracy"]
        assert found["estimate"] and found["difference"] is None
        assert ">nothing to compare with<" in render_matrix_page(table)
        show_matrix(make_console(), table)
    some = table["rows"][1]["metrics"]["accuracy"]
    assert some["difference"]["prompts"] == 10 and "on 10 of 50 prompts" in render_matrix_page(table)


def test_the_page_shows_if_a_hypothesis_held_and_escapes_texts(tabled):
    page = render_matrix_page({**tabled, "rows": [{**row, "hypothesis": "<b>&"} for row in tabled["rows"]]})
    assert "lower, as expected" in page and ">within noise<" in page
    assert "&lt;b&gt;&amp;" in page and "<b>&" not in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


SWEEPS = """
name = "alpha"
base = "demo"
[[sweeps]]
name = "linear"
hypothesis = "h"
over = { "wrpo.alpha" = [0.1, 0.3, 0.5] }
[[sweeps]]
name = "static"
hypothesis = "h"
over = { "wrpo.alpha" = [0.1, 0.3, 0.5] }
set = { "wrpo.schedule" = { kind = "static" } }
"""


def test_a_sweep_is_drawn_as_lines_with_gaps(tmp_path, workplace):
    (tmp_path / "sweeps.toml").write_text(SWEEPS)
    matrix, runs = load_matrix(str(tmp_path / "sweeps.toml"))
    draw = np.random.default_rng(1)
    for place, run in enumerate(runs):
        if run.variant.name != "static-0.3":
            evaluated(workplace, run, draw.random(200) < 0.5 + place / 20, draw.random(200))
    table = matrix_table(matrix, runs, workplace.store)
    assert [row["swept"] and row["swept"]["at"] for row in table["rows"]] == [None, 0.1, 0.3, 0.5, 0.1, 0.3, 0.5]
    assert table["rows"][0]["reward_accuracy"] is table["rows"][1]["reward_accuracy"] is None  # no training is there
    page = render_matrix_page(table)
    figure = page.partition('<section id="sweeps">')[2].partition("</section>")[0]
    paths = re.findall(r'class="(wrpo|source)"><title>[^<]*</title><path d="([^"]*)"', figure)
    assert [(tone, path.count("M"), path.count("L")) for tone, path in paths] == 2 * [("wrpo", 1, 2), ("source", 2, 0)]
    assert "wrpo.alpha" in figure and "no values were logged" in figure  # of reward accuracies there are none


def test_of_a_trainings_last_steps_the_reward_accuracy_is_read(tmp_path, workplace):
    (tmp_path / "sweeps.toml").write_text(SWEEPS)
    matrix, runs = load_matrix(str(tmp_path / "sweeps.toml"))
    step, folder = runs[1].last.inputs["wrpo"][0], tmp_path / "training"
    folder.mkdir()
    logged = [None, *np.linspace(0, 1, 21)]
    pd.DataFrame({"step": range(22), "accuracy_source": logged}).to_parquet(folder / "steps.parquet")
    rest = {"inputs": {}, "files": (), "counts": {}, "provenance": {}, "started": "", "seconds": 0, "attempt": "a"}
    named = {"stage": step.stage.name, "version": "1", "fingerprint": step.fingerprint, "label": "WRPO", "what": {}}
    workplace.store.publish(folder, Manifest(**named, **rest))
    found = matrix_table(matrix, runs, workplace.store)["rows"][1]["reward_accuracy"]
    assert found == pytest.approx((1 + 0.95) / 2)
