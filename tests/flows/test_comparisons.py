"""Variants on suites: the last models are compared question by question, by the suite's own statistics, and only where both
were asked and judged alike."""

import re

import numpy as np
import pandas as pd
import pytest

from flows.ablation import count_steps, list_goals, load_matrix
from flows.cli.ablate import show_matrix
from flows.cli.console import make_console
from flows.results.matrix import matrix_table
from flows.suites.comparisons import compare_suites
from tasks.evaluation.statistics import adjust_p_values, compute_mcnemar_p
from tasks.execution import ensure_artifact
from tasks.records import content_id
from tasks.report.matrix import render_matrix_page
from tasks.stage import lineage
from tests.evaluation.made import folder_of
from tests.workplace import as_made

SUITES = """
[[set."evaluation.suites"]]
suite = "checked"
name = "skills"
prompts = {{ kind = "skills", count = 60, seed = 3 }}
[[set."evaluation.suites"]]
suite = "arena-hard"
path = "{folder}"
"""
MATRIX = """
name = "small"
base = "demo"
[set]
"prompts.count" = 300
"evaluation.open_judge" = {{ model = "owl" }}
{suites}
{variants}
"""
VARIANT = '[[variants]]\nname = "{name}"\nhypothesis = "h"\nset = {{ {fields} }}\n'
PROMPTS = 'temperature = 0.5, prompts = {{ kind = "skills", count = {count}, seed = 3 }}'
ONLY = '{{ suite = "checked", name = "{name}", ' + PROMPTS + " }}"
BETAS = {"a": '"wrpo.beta" = 0.2', "b": '"wrpo.beta" = 0.3', "c": '"wrpo.beta" = 0.4', "d": '"wrpo.beta" = 0.5'}


def matrix(folder, suites: str = SUITES, **variants: str):
    if not (folder / "arena").exists():
        folder_of("arena-hard", folder / "arena", 4)
    made = "".join(VARIANT.format(name=name, fields=fields) for name, fields in variants.items())
    text = MATRIX.format(suites=suites.format(folder=folder / "arena"), variants=made)
    (folder / "matrix.toml").write_text(text)
    return load_matrix(str(folder / "matrix.toml"))


def test_a_variants_last_model_is_compared_with_the_bases(tmp_path):
    _, (full, variant) = matrix(tmp_path, a=BETAS["a"])
    found = compare_suites(full.last, variant.last, "a")
    assert list(found) == ["skills", "arena-hard"]
    assert found["arena-hard"].label == "arena-hard · a against the base"
    for name, (mine, theirs) in zip(
        found, zip(variant.last.inputs["suites"], full.last.inputs["suites"], strict=True), strict=True
    ):
        step = found[name]
        assert step.stage is mine.stage and step.what.models == ("full", "variant")
        assert step.what.model_copy(update={"models": mine.what.models}) == mine.what
        for kind in {"responses", "checks", "judgements"} & step.inputs.keys():
            assert step.inputs[kind] == (theirs.inputs[kind][-1], mine.inputs[kind][-1])
    last = found["skills"].inputs["responses"][1].inputs["model"][0]
    assert last.label == "WRPO" and last.address == variant.last.inputs["wrpo"][0].address
    made = {step.address for goal in list_goals([full, variant]) for step in lineage(goal)}
    assert {step.address for step in found.values()} < made and count_steps([full, variant])[1] == len(made)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ('"evaluation.open_judge" = { model = "crow" }', ["skills"]),
        ('"evaluation.open_judge" = { model = "owl", both_orders = true }', ["skills"]),
        (f'"evaluation.suites" = [{ONLY.format(name="skills", count=60)}]', ["skills"]),
        (f'"evaluation.suites" = [{ONLY.format(name="skills", count=61)}]', []),
        (f'"evaluation.suites" = [{ONLY.format(name="other", count=60)}]', []),
        ('"evaluation.suites" = []', []),
    ],
)
def test_what_was_asked_or_judged_otherwise_is_not_compared(tmp_path, fields, left):
    _, (full, variant) = matrix(tmp_path, a=f"{BETAS['a']}, {fields}")
    assert list(compare_suites(full.last, variant.last, "a")) == left


LEADERBOARD = """
[[set."evaluation.suites"]]
suite = "lm-eval"
path = "{folder}"
tasks = [{{ task = "made", shots = 0 }}]
"""


def test_scores_of_single_questions_are_compared_over_those_that_both_have(tmp_path, workplace):
    (tmp_path / "arena").mkdir()
    (tmp_path / "arena" / "made.yaml").write_text("task: made\n")
    found, runs = matrix(tmp_path, LEADERBOARD, a=BETAS["a"])
    values = {"full": [1.0, 1.0, 0.0, 1.0], "a": [1.0, 0.0, 0.0]}
    for run in runs:
        (results,) = run.last.inputs["suites"]
        mine = pd.DataFrame({"task": "made", "value": values[run.variant.name]}).reset_index(names="item")
        for items in results.inputs["items"]:
            put(workplace, items, items=mine)
        ensure_artifact(results, workplace.store, workplace.launcher)
    ensure_artifact(compare_suites(runs[0].last, runs[1].last, "a")["lm-eval"], workplace.store, workplace.launcher)
    full, cell = (row["metrics"]["suite lm-eval"] for row in matrix_table(found, runs, workplace.store)["rows"])
    assert (full["estimate"]["value"], cell["estimate"]["value"]) == (75.0, pytest.approx(100 / 3))
    assert cell["difference"]["value"] == pytest.approx(-100 / 3) and cell["difference"]["p"] == 1.0


def put(workplace, step, **tables: pd.DataFrame) -> None:
    """Stands in the store as if the step had been run."""
    folder = workplace.folder / "put" / step.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        rows.to_parquet(folder / f"{name}.parquet", index=False)
    workplace.store.publish(folder, as_made(step))


def examined(workplace, run, right: np.ndarray) -> None:
    """The run's answers to the checked suite, the last model's right where it says so, and their results, made for real."""
    skills = run.last.inputs["suites"][0]
    ids = workplace.table(skills.inputs["prompts"][0], "prompts.parquet")["prompt_id"]
    for responses, checks in zip(skills.inputs["responses"], skills.inputs["checks"], strict=True):
        rows = pd.DataFrame({"prompt_id": ids, "sample_index": 0, "text": responses.address})
        rows["content_id"] = [content_id(*pair) for pair in zip(rows["prompt_id"], rows["text"], strict=True)]
        put(workplace, responses, responses=rows)
        last = checks is skills.inputs["checks"][-1]
        scores = rows[["content_id"]].assign(verdict="failed", reason="", score=right.astype(float) if last else 0.0)
        put(workplace, checks, scores=scores)
    ensure_artifact(skills, workplace.store, workplace.launcher)


@pytest.fixture
def compared(tmp_path, workplace):
    """Of the checked suite, base, a and b are there; c broke while it trained, d was left out; b is not compared yet."""
    found, runs = matrix(tmp_path, **BETAS)
    draw = np.random.default_rng(1)
    base = draw.random(60) < 0.8
    right = [base, base & (draw.random(60) < 0.4), base]
    for run, values in zip(runs, right, strict=False):
        examined(workplace, run, values)
    pair = compare_suites(runs[0].last, runs[1].last, "a")["skills"]
    ensure_artifact(pair, workplace.store, workplace.launcher)
    failed = {next(step.address for step in lineage(runs[3].last) if step.label == "WRPO"): "no memory"}
    return matrix_table(found, runs, workplace.store, failed), right


def test_the_table_has_each_suites_number_difference_and_p(compared):
    table, (base, worse, _) = compared
    cells = [row["metrics"]["suite skills"] for row in table["rows"]]
    assert cells[0]["estimate"]["value"] == pytest.approx(100 * base.mean()) and cells[0]["difference"] is None
    change = cells[1]["difference"]
    assert change["value"] == pytest.approx(100 * (worse.mean() - base.mean())) and change["low"] < change["value"]
    assert change["p"] == compute_mcnemar_p(base, worse) and [change["holm"]] == adjust_p_values([change["p"]])
    assert change["reading"] == "lower"
    assert (cells[2]["difference"], cells[2]["alone"]) == (None, "comparison not run")


def test_what_was_not_run_or_failed_has_no_number_in_a_suite_either(compared):
    table, _ = compared
    states = [row["states"] for row in table["rows"]]
    assert [one["suite skills"] for one in states] == ["done", "done", "done", "failed: WRPO", "not run"]
    assert [one["suite arena-hard"] for one in states] == 3 * ["not run"] + ["failed: WRPO", "not run"]
    page = render_matrix_page(table)
    for suite, without in (("skills", "cd"), ("arena-hard", "abcd")):
        section = page.partition(f'<section id="suite-{suite}">')[2].partition("</section>")[0]
        rows = dict(re.findall(r"<tr><td>(\w+)</td>(.*?)</tr>", section))
        assert len(rows) == 5 and not re.search(r"\d", "".join(rows[name] for name in without))
    assert "<h2>skills</h2>" in page and "comparison not run" in page


def test_the_terminal_shows_a_table_per_suite(compared, capsys):
    show_matrix(make_console(), compared[0])
    shown = capsys.readouterr().out
    assert "skills accuracy" in shown and "failed: WRPO" in shown and "arena-hard" in shown
    assert re.search(r"a +\d+\.\d\d +-\d+\.\d\d \[-\d+\.\d\d, -\d+\.\d\d\]", shown)


def test_a_variant_that_asks_no_suites_says_so(tmp_path, workplace):
    found, runs = matrix(tmp_path, a='"evaluation.suites" = []')
    table = matrix_table(found, runs, workplace.store)
    assert table["rows"][1]["states"] == {"suite skills": "not asked", "suite arena-hard": "not asked"}


def test_claims_of_all_columns_are_one_family(compared, tmp_path, workplace):
    """With the second comparison made too, each p is corrected for both."""
    found, runs = matrix(tmp_path, **BETAS)
    ensure_artifact(compare_suites(runs[0].last, runs[2].last, "b")["skills"], workplace.store, workplace.launcher)
    table = matrix_table(found, runs, workplace.store)
    changes = [row["metrics"]["suite skills"]["difference"] for row in table["rows"][1:3]]
    assert (
        [one["holm"] for one in changes]
        == adjust_p_values([one["p"] for one in changes])
        != [one["p"] for one in changes]
    )
