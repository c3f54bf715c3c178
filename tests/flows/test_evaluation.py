"""Examinations: what they share, what they refuse, and a gate that lets nothing through that lost or was not examined."""

import json
import tomllib

import pandas as pd
import pytest
from rich.console import Console

from flows.cli.suite_tables import show_suites
from flows.config.examination import Examination, Gate, load_examination
from flows.config.loading import load_recipe
from flows.config.matrix import SHIPPED, Matrix
from flows.config.suites import suite_name
from flows.evaluation import build_chains
from flows.fusion import fusion
from flows.results.examination import average_suites, judge_gate, summarise_examination
from flows.run.packed_step import pack_step, unpack_step
from infra.errors import BadInput
from tasks.evaluation.collectives.choosing import CollectiveChoice, choose_answers
from tasks.evaluation.judged.given_answers import Outputs, take_answers
from tasks.evaluation.judged.questions import PublishedSuite, open_suite, read_suite_answers
from tasks.evaluation.statistics import classify_difference
from tasks.records import RESPONSE, content_id
from tasks.report.suites import render_examination_page
from tasks.rows.pool import write_table
from tasks.stage import What, lineage, stage
from tests.evaluation.made import FOLDERS, folder_of
from tests.evaluation.test_coding import live_code_bench

TEXT = """
name = "check"
seed = 5
models = [
  {{ name = "before", model = {{ kind = "recipe", recipe = "demo", of = "target" }} }},
  {{ name = "after", model = {{ kind = "recipe", recipe = "demo" }} }},{models}
]
judge = {{ model = "stub-1" }}
{suites}
"""
CHECKED = '[[suites]]\nsuite = "checked"\nname = "skills"\nprompts = { kind = "skills", count = 60, seed = 3 }\n'


def judged(tmp_path, name: str, more: str = "") -> str:
    folder = tmp_path / name
    if not folder.exists():
        folder_of(name, folder, 4)
    return f'[[suites]]\nsuite = "{name}"\npath = "{folder}"\n{more}\n'


def examination(tmp_path, suites: str, models: str = "", more: str = ""):
    (tmp_path / "examination.toml").write_text(TEXT.format(suites=suites + more, models=models))
    return load_examination(str(tmp_path / "examination.toml"))


def steps(found) -> dict[str, str]:
    return {step.address: step.label for last in build_chains(found).values() for step in lineage(last)}


def test_a_recipes_models_are_the_ones_that_the_recipe_makes(tmp_path):
    made = steps(examination(tmp_path, CHECKED))
    wrpo = next(step for step in lineage(fusion(load_recipe("demo"))) if step.label == "WRPO")
    assert made[wrpo.address] == "WRPO"
    with pytest.raises(
        BadInput, match=r"models\.third\.model\.of: demo has no model 'nobody'; it has target, SFT, WRPO, mirror"
    ):
        build_chains(
            examination(
                tmp_path,
                CHECKED,
                ', { name = "third", model = { kind = "recipe", recipe = "demo", of = "nobody" } }'[1:],
            )
        )


def test_coding_suites_are_sampled_checked_and_measured(tmp_path):
    file = live_code_bench(tmp_path / "coding").joinpath("test.jsonl")
    for task in ("LCB_generation", "coding_completion"):
        (tmp_path / "live/coding" / task).mkdir(parents=True)
        (tmp_path / "live/coding" / task / "question.jsonl").write_text("{}\n")
    paths = {"livecodebench": file.parent, "livebench-coding": tmp_path / "live", "evalplus": file}
    suites = "".join(f'[[suites]]\nsuite = "{name}"\npath = "{path}"\n' for name, path in paths.items())
    chains = build_chains(examination(tmp_path, suites))
    assert set(chains) == set(paths)
    for name, last in chains.items():
        labels = {step.label for step in lineage(last)}
        wanted = {"questions", "answers of after", "checks of after", "results"}
        assert {f"{name} · {part}" for part in wanted} <= labels, labels
    assert chains["livebench-coding"].stage.name == "coding-results"


def test_another_model_adds_its_own_steps_and_new_results(tmp_path):
    suites = "".join(judged(tmp_path, name) for name in FOLDERS) + CHECKED
    before = steps(examination(tmp_path, suites))
    more = '{ name = "third", model = { kind = "tiny", steps = 2, seed = 1, skills = { copy = 1 } } }'
    added = {label for address, label in steps(examination(tmp_path, suites, more)).items() if address not in before}
    assert all("of third" in label or "results" in label or label.endswith(("third", "· third")) for label in added)
    assert {"mt-bench · second turns of third", "arena-hard · judging third", "skills · checks of third"} <= added


def test_a_suite_may_stand_there_greedy_and_sampled(tmp_path):
    both = judged(tmp_path, "arena-hard") + judged(tmp_path, "arena-hard", 'name = "sampled"\ntemperature = 0.7')
    labels = list(steps(examination(tmp_path, both)).values())
    assert sum(label.endswith("questions") for label in labels) == 1
    assert {"arena-hard · answers of after", "sampled · answers of after"} <= set(labels)


@pytest.mark.parametrize(
    ("suites", "complaint"),
    [
        (
            '[[suites]]\nsuite = "mt-bench"\npath = "nowhere"',
            "mt-bench needs question.jsonl in 'nowhere': the 80 questions",
        ),
        (CHECKED + CHECKED, "suites: the name 'skills' is taken"),
        (CHECKED + '[gate]\nsuites = ["gsm8k"]', "gate.suites: there is no suite 'gsm8k'"),
        ('[[suites]]\nsuite = "vibes"\npath = "x"', "'vibes'"),
    ],
)
def test_a_mistake_is_named(tmp_path, suites, complaint):
    with pytest.raises(BadInput) as problem:
        build_chains(examination(tmp_path, suites))
    assert complaint in str(problem.value)


def test_a_suites_files_may_be_pinned(tmp_path):
    pinned = judged(tmp_path, "arena-hard", 'sha256 = { "question.jsonl" = "00" }')
    with pytest.raises(BadInput, match=r"sha256.question.jsonl: expected 00…"):
        build_chains(examination(tmp_path, pinned))


def suite(name: str, value: float, low: float, high: float, full: int = 100, metric: str = "accuracy") -> dict:
    change = {"from": "a", "to": "b", "metric": metric, "column": metric, "value": value, "low": low, "high": high}
    results = [{"model": model, "metric": metric, "column": metric, "full_marks": full, "value": base, "low": 0, "high": 1}
               for model, base in (("a", 5.0), ("b", 5.0 + value))]  # fmt: skip
    counts = {model: {"questions": 9, "missing": 0, "flagged": 0} for model in "ab"}
    kind = "gold" if metric == "accuracy" else "owl"
    tested = {**change, "p": 0.01, "holm": 0.02, "reading": classify_difference(change, 0.02, 0.95)}
    return {"name": name, "suite": name, "judge": kind, "state": "done", "results": results, "counts": counts,
            "differences": [tested]}  # fmt: skip


def test_a_lost_or_missing_comparison_does_not_pass_the_gate():
    lost, noise, won = suite("x", -12, -15, -9), suite("y", -1, -3, 1), suite("z", 4, 2, 6)
    absent = {"name": "w", "state": "not run", "results": [], "differences": [], "counts": {}}
    found = [lost, noise, won, absent]
    passes = lambda names, margin=0.0: judge_gate(Gate(suites=tuple(names), margin=margin), found, "b")["passed"]
    assert passes("yz") and not passes("xz") and not passes("w")
    assert not passes("x", 11) and passes("x", 12)
    assert judge_gate(Gate(suites=("x",)), [lost], "b")["against"] == ["x: b has -12.0 accuracy"]


def test_the_gate_is_for_the_last_model_and_what_stands_beside_it_may_lose():
    between, last = suite("x", -12, -15, -9), suite("x", 2, 1, 3)
    last["differences"][0]["to"] = "c"
    both = {**last, "differences": [*between["differences"], *last["differences"]]}
    assert (
        judge_gate(Gate(suites=("x",)), [both], "c")["passed"]
        and not judge_gate(Gate(suites=("x",)), [both], "b")["passed"]
    )


def test_a_candidate_that_was_compared_with_nothing_does_not_pass_the_gate(tmp_path):
    alone = {**suite("x", 1, 1, 1), "differences": []}
    assert not judge_gate(Gate(suites=("x",)), [alone], "b")["passed"]
    length = suite("x", 5, 4, 6, metric="length")
    assert not judge_gate(Gate(suites=("x",)), [length], "b")["passed"]
    text = TEXT.format(suites=CHECKED + '[gate]\nsuites = ["skills"]', models="").splitlines()
    (tmp_path / "one.toml").write_text("\n".join(line for line in text if '"before"' not in line))
    with pytest.raises(BadInput, match="gate: needs two models"):
        load_examination(str(tmp_path / "one.toml"))


def test_a_judge_may_bear_any_name_on_the_terminal(capsys):
    found = suite("alpaca-eval", 1, 0, 2, metric="LC@owner/judge[/int4]")
    found |= {"judge": "owner/judge[/int4]", "left_out": ["[/coding]"], "calibration": None}
    found["counts"]["a"] |= {"first": 0.7, "inconsistent": None}
    found["counts"]["b"] |= {"first": 0.8, "inconsistent": 0.25}
    show_suites(Console(width=200), [found], ["a", "b"])
    said = capsys.readouterr().out
    assert "LC@owner/judge[/int4]" in said and "left out: [/coding]" in said
    assert "owner/judge[/int4] on a: 70% of the verdicts chose the answer shown first\n" in said
    assert "on b: 80% of the verdicts chose the answer shown first, 25% of the winners changed with the order" in said
    page = render_examination_page(
        {"name": "n", "models": ["a", "b"], "suites": [found], "averages": None, "gate": None}
    )
    assert "won by the first shown" in page and "80" in page and ">–<" in page


def test_suites_of_ten_points_are_averaged_as_percentages():
    found = average_suites("ab", [suite("gsm", 0, 0, 0), suite("mt-bench", 1, 0, 1, 10, "overall")])
    assert found == {"a": (5 + 50) / 2, "b": (5 + 60) / 2}
    assert average_suites("ab", [{"state": "not run"}]) is None


def test_an_examination_that_was_not_run_has_no_numbers_on_its_page(tmp_path, workplace):
    made = examination(tmp_path, CHECKED + '[gate]\nsuites = ["skills"]')
    lasts = build_chains(made)
    failed = {next(step.address for step in lineage(lasts["skills"]) if step.label == "WRPO"): "no memory"}
    found = summarise_examination(made, lasts, workplace.store, failed)
    assert found["suites"][0]["state"] == "failed: WRPO" and not found["gate"]["passed"] and found["averages"] is None
    page = render_examination_page(found)
    assert "No numbers: failed: WRPO." in page and "The gate is not passed" in page


def test_the_page_of_an_examination_escapes_and_says_what_is_noise():
    found = {
        "name": "<i>",
        "models": ["a", "b"],
        "suites": [suite("<x>", -12, -15, -9), suite("y", -1, -3, 1)],
        "averages": {"a": 1.0, "b": 2.0},
        "gate": {"passed": True, "against": []},
    }
    page = render_examination_page(found)
    assert "within noise" in page and "lower" in page and "<i>" not in page and "&lt;x&gt;" in page
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_outputs_of_a_file_are_judged_without_sampling(tmp_path):
    rows = [{"instruction": f"Tell {n}.", "output_2": f"So {n}.", "preference": 1.2} for n in range(4)]
    (tmp_path / "outputs.json").write_text(json.dumps(rows))
    more = f'{{ name = "given", model = {{ kind = "outputs", path = "{tmp_path}/outputs.json" }} }}'
    made = examination(tmp_path, judged(tmp_path, "alpaca-eval"), more)
    last = build_chains(made)["alpaca-eval"]
    assert "alpaca-eval · answers of given" not in {step.label for step in lineage(last)}
    assert last.what.published == ("given",) and len(last.inputs["published"]) == 1
    with pytest.raises(BadInput, match="kind 'outputs' cannot be used with mt-bench"):
        examination(tmp_path, judged(tmp_path, "mt-bench"), more)


def test_a_file_of_outputs_becomes_answers_and_published_preferences(tmp_path, workplace):
    rows = [{"instruction": f"Tell {n}.", "output_2": f"So {n}.", "preference": 1.0 + n / 10} for n in (3, 1, 0, 2)]
    (tmp_path / "outputs.json").write_text(json.dumps(rows))
    folder = folder_of("alpaca-eval", tmp_path / "folder", 4)
    opened = open_suite(**PublishedSuite(suite="alpaca-eval", path=str(folder)).resolve("suite"))
    given = take_answers(suite=opened, **Outputs(kind="outputs", path=str(tmp_path / "outputs.json")).resolve("model"))
    said = read_suite_answers(workplace.run(given), "alpaca-eval", workplace.made(opened), (workplace.made(given),))
    assert said == {str(n): (f"So {n}.",) for n in range(4)}
    assert workplace.table(given, "published.parquet")["preference"].tolist() == [1.0, 1.1, 1.2, 1.3]
    (tmp_path / "outputs.json").write_text(json.dumps(rows[:3]))
    short = take_answers(suite=opened, **Outputs(kind="outputs", path=str(tmp_path / "outputs.json")).resolve("model"))
    with pytest.raises(BadInput, match="1 of 4 questions have no answer; the first is 2"):
        workplace.made(short)


COLLECTIVE = """
{ name = "best", model.kind = "best-by-reward", model.members = ["before", "after"], model.reward.model = { kind = "tiny-reward",
steps = 2, seed = 1 } }
""".replace("\n", " ")


def test_a_collective_samples_nothing_and_reads_what_its_members_answered(tmp_path):
    last = build_chains(examination(tmp_path, CHECKED, COLLECTIVE))["skills"]
    steps = {step.label: step for step in lineage(last)}
    best = steps["skills · answers of best"]
    assert best.stage.title == "collective answers"
    assert best.inputs["responses"] == (steps["skills · answers of before"], steps["skills · answers of after"])
    assert last.inputs["responses"][-1] is best
    with pytest.raises(BadInput, match=r"models\.best\.members: there is no model 'nobody' before this one"):
        examination(tmp_path, CHECKED, COLLECTIVE.replace('"after"]', '"nobody"]'))
    with pytest.raises(BadInput, match="a collective cannot be used with mt-bench"):
        examination(tmp_path, judged(tmp_path, "mt-bench"), COLLECTIVE)


class Rows(What):
    rows: tuple[tuple[str, str, float], ...]  # prompt, text, score


@stage("rows", version="1")
def put(run, what, how):
    """Answers and their scores, as sampling and annotation leave them."""
    table = pd.DataFrame(what.rows, columns=["prompt_id", "text", "score"])
    table["content_id"] = [content_id(prompt, text) for prompt, text, _ in what.rows]
    write_table(run, table.assign(sample_index=0).reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")
    scores = table.drop_duplicates("content_id")[["content_id", "score"]]
    scores.to_parquet(run.folder / "scores.parquet", index=False)


def test_the_best_answer_is_chosen_per_prompt_and_ties_go_first(workplace):
    one = (("p", "a", 0.1), ("q", "b", 0.9), ("r", "same", 0.5))
    two = (("p", "c", 0.7), ("q", "d", 0.2), ("r", "same", 0.5))
    said = [put(what=Rows(rows=rows)) for rows in (one, two)]
    chosen = choose_answers(
        responses=said, scores=put(what=Rows(rows=one + two)), what=CollectiveChoice(members=("x", "y"))
    )
    best = workplace.table(chosen, "responses.parquet").set_index("prompt_id")["text"].to_dict()
    assert best == {"p": "c", "q": "b", "r": "same"}
    assert workplace.made(chosen).counts == {"rows": 3, "from_x": 2, "from_y": 1}


def test_what_the_page_on_evaluating_shows_is_a_matrix_and_an_examination():
    page = (SHIPPED / "README.md").read_text()
    matrix, shown = (tomllib.loads(block.partition("```")[0]) for block in page.split("```toml\n")[1:])
    assert len(Matrix.model_validate(matrix).all()) == 3
    found = Examination.model_validate(shown)
    assert [suite_name(suite) for suite in found.suites] == ["alpaca-eval", "alpaca-eval-sampled", "gsm8k", "lm-eval"]


@stage("surprises", version="1")
def put_surprise(run, what, how):
    rows = pd.DataFrame(what.rows, columns=["prompt_id", "text", "nats"])
    rows[["prompt_id", "nats"]].to_parquet(run.folder / "perplexity.parquet", index=False)


def test_by_perplexity_the_model_answers_that_the_prompt_surprises_least(workplace):
    said = [put(what=Rows(rows=(("p", words, 0.0), ("q", words, 0.0)))) for words in ("one", "two")]
    nats = [put_surprise(what=Rows(rows=(("p", "", p), ("q", "", q)))) for p, q in ((2.0, 1.0), (0.5, 1.0))]
    chosen = choose_answers(responses=said, surprises=nats, what=CollectiveChoice(members=("x", "y")))
    best = workplace.table(chosen, "responses.parquet").set_index("prompt_id")["text"].to_dict()
    assert best == {"p": "two", "q": "one"}


def test_a_collective_by_perplexity_measures_every_member(tmp_path):
    more = '{ name = "least", model = { kind = "lowest-perplexity", members = ["before", "after"] } }'
    steps = {step.label: step for step in lineage(build_chains(examination(tmp_path, CHECKED, more))["skills"])}
    asked = steps["skills · answers of least"].inputs["surprises"]
    assert [step.inputs["model"][0].label for step in asked] == ["model · target", "WRPO"]


def test_a_worker_elsewhere_makes_the_same_steps_of_what_it_is_sent(tmp_path):
    more = '{ name = "least", model = { kind = "lowest-perplexity", members = ["before", "after"] } }'
    for made in (
        examination(tmp_path, judged(tmp_path, "mt-bench") + CHECKED),
        examination(tmp_path, judged(tmp_path, "arena-hard") + CHECKED, more),
    ):
        for last in build_chains(made).values():
            for step in lineage(last):
                assert unpack_step(pack_step(step)).address == step.address
