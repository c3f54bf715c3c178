"""The whole chain for real, in small: run, run again, plan, extend, show, refuse. Every test runs `fuse` as a user does."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from infra.errors import BadInput, ProgramFailed, StoreUnreachable, Unavailable
from tests.chain.small import fuse, manifests, states, write_recipe
from tests.patience import wait_until


def test_a_run_ends_with_results_and_a_report(done):
    space, _, printed = done
    (report,) = (space / "reports").iterdir()
    assert str(report) in printed and "WRPO" in printed and "win rate" in printed
    page = report.read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "source-1" in page and "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_run_again_executes_nothing_and_starts_neither_prefect_nor_torch(done):
    space, recipe, _ = done
    before = manifests(space / "store")
    answer = fuse(space, "run", str(recipe), PYTHONPROFILEIMPORTTIME="1")
    assert answer.returncode == 0 and "nothing to do" in answer.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")
    }
    assert "pydantic" in imported and not imported & {"prefect", "torch", "transformers"}
    assert manifests(space / "store") == before


def test_a_changed_beta_makes_wrpo_evaluation_and_report_new_and_says_why(done):
    space, recipe, _ = done
    answer = fuse(space, "plan", str(recipe), "--set", "wrpo.beta=0.2")
    new = {label for label, state in states(answer.stdout).items() if state != "found"}
    assert new == {"WRPO", "evaluation · answers of WRPO", "evaluation · judging", "evaluation · results", "report"}
    (line,) = [
        line
        for line in answer.stdout.splitlines()
        if line.startswith("to do") and " WRPO " in line and "answers" not in line
    ]
    assert "beta 0.1 → 0.2" in line
    assert "5 of" in answer.stdout


def test_a_change_of_speed_alone_makes_nothing_new(done):
    space, recipe, _ = done
    assert "nothing to do" in fuse(space, "plan", str(recipe), "--set", "how.wrpo.device_batch_size=4").stdout


def test_another_source_samples_and_scores_only_itself(copied, server):
    space, recipe = copied
    more = write_recipe(recipe.parent, sources=3)
    before = manifests(space / "store")
    assert states(fuse(space, "plan", str(more)).stdout)["per-model sampling · source-2"] == "found"
    answer = fuse(space, "run", str(more), **server)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    made = [json.loads(text)["label"] for address, text in manifests(space / "store").items() if address not in before]
    upstream = [
        label for label in made if label.split(" · ")[0] in ("model", "per-model sampling", "reward annotation")
    ]
    assert sorted(upstream) == [
        "model · source-3",
        "per-model sampling · SFT model",  # the SFT model is another
        "per-model sampling · source-3",
        "reward annotation · SFT model",
        "reward annotation · source-3",
    ]


def test_more_samples_extend_the_rows_that_are_there(done):
    space, recipe, _ = done
    printed = fuse(space, "plan", str(recipe), "--set", "sampling.n=4").stdout
    assert states(printed)["per-model sampling · source-1"] == "extends"
    (line,) = [line for line in printed.splitlines() if line.startswith("extends  per-model sampling · source-1 ")]
    assert "rows in place" in line and "n 3 → 4" in line


def test_show_leads_from_the_report_to_the_prompts(done):
    space, recipe, _ = done
    whole = fuse(space, "show", str(recipe)).stdout
    for word in ("report", "WRPO", "pairs", "SFT", "splitting", "prompt selection", "torch 2.13.0", "commit"):
        assert word in whole
    address = next(address for address in manifests(space / "store") if address.startswith("wrpo/"))
    assert "WRPO" in fuse(space, "show", address[:12]).stdout
    missing = fuse(space, "show", "wrpo/000000")
    assert missing.returncode == 2 and "no artifact of stage 'wrpo'" in missing.stderr


def test_report_prints_finished_recipes_and_refuses_others(done):
    space, recipe, _ = done
    assert "WRPO" in fuse(space, "report", str(recipe)).stdout
    unfinished = fuse(space, "report", str(recipe), "--set", "wrpo.beta=0.7")
    assert unfinished.returncode == 2 and "fuse run makes it" in unfinished.stderr


@pytest.mark.parametrize("form", ["trl", "llama-factory", "hub"])
def test_the_records_of_a_finished_recipe_are_exported_whole(done, tmp_path, form):
    import pyarrow.parquet as pq

    space, recipe, _ = done
    answer = fuse(space, "export", str(recipe), "--format", form, "--to", str(tmp_path / "out"), "--candidates")
    assert answer.returncode == 0, answer.stderr
    assert str(tmp_path / "out") in answer.stdout and list(tmp_path.glob(".*partial")) == []
    made = {
        (one := json.loads(text))["label"]: one["counts"].get("rows") for text in manifests(space / "store").values()
    }
    rows = lambda name: pq.read_metadata(tmp_path / "out" / name).num_rows
    sampled = {label.split(" · ")[1]: count for label, count in made.items() if label.startswith("per-model sampling")}
    models = {name.removesuffix(" model"): count for name, count in sampled.items()}
    assert {"source-1", "SFT"} < models.keys()
    not_held_out = rows("prompts/prompts.parquet")
    asked = {name: count if name == "SFT" else 3 * not_held_out for name, count in models.items()}
    assert not_held_out < 60 and {name: rows(f"candidates/{name}.parquet") for name in models} == asked
    match form:
        case "trl":
            assert (rows("sft.parquet"), rows("preference-on-policy.parquet")) == (made["SFT records"], made["pairs"])
        case "llama-factory":
            lines = lambda name: len((tmp_path / "out" / name).read_bytes().splitlines())
            found = (lines("sft.jsonl"), lines("preference-on-policy.jsonl"))
            assert found == (made["SFT records"], made["pairs"])
        case "hub":
            from datasets import load_dataset

            load = lambda name: load_dataset(
                str(tmp_path / "out"), name, split="train", cache_dir=str(tmp_path / "cache")
            )
            assert len(load("sft")) == made["SFT records"] and len(load("preference")) == made["pairs"]
            assert len(load("candidates")) == sum(asked.values())
            card = (tmp_path / "out" / "README.md").read_text()
            assert all(
                word in card
                for word in ("prompt selection", "model · source-1", "licence not recorded", "dropped no margin")
            )
    again = fuse(space, "export", str(recipe), "--format", form, "--to", str(tmp_path / "out"))
    assert again.returncode == 2 and "exists already" in again.stderr


def test_a_finished_run_tells_the_worth_of_its_sources_from_stored_scores(done):
    space, recipe, _ = done
    before = manifests(space / "store")
    answer = fuse(space, "sources", str(recipe))
    assert answer.returncode == 0, answer.stderr
    numbers = json.loads((space / "reports" / "sources-small.json").read_text())
    assert "advice: " in answer.stdout and manifests(space / "store") == before
    overall = numbers["overall"]
    assert {source["source"] for source in overall["sources"]} == {"source-1", "source-2"}
    assert numbers["responses"] == 2 * 3 * overall["prompts"] == 360
    assert [size["n"] for size in numbers["sizes"]] == [1, 2, 3]
    assert sum(source["gain"] for source in overall["sources"]) == pytest.approx(overall["best"] - overall["lowest"])
    page = (space / "reports" / "sources-small.html").read_text()
    assert "Greedy order" in page and "source-2" in page


def test_rows_made_again_equal_the_stored_ones_and_the_card_says_so(copied):
    space, recipe = copied
    answer = fuse(space, "verify", str(recipe), "--resample", "20%", "--seed", "3")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("equal  ") >= 10 and "different" not in answer.stdout
    card = fuse(space, "publish", str(recipe), "--name", "me/small").stdout
    assert "rows made again, on a machine of the same kind: 100.00% equal" in card and "nothing was uploaded" in card
    assert "base_model" not in card and "| not stated | unknown: look it up before you publish |" in card


def test_a_run_above_its_budget_is_refused_before_anything_starts(done, tmp_path):
    space, recipe, _ = done
    prices = tmp_path / "prices.toml"
    prices.write_text("[hour]\ncpu = 1000.0\n")
    words = (str(recipe), "--set", "seed=9", "--prices", str(prices), "--budget", "0.01")
    for command in ("plan", "run"):
        answer = fuse(space, command, *words)
        assert answer.returncode == 2 and "the run is expected to cost" in answer.stderr
    assert "same size" in fuse(space, "plan", *words[:3]).stdout  # the estimate follows from the finished run
    assert not (space / "budgets").exists()


def test_the_report_has_the_estimate_beside_what_each_step_took(done):
    space, _, _ = done
    (page,) = (space / "reports").glob("small-*.html")
    assert "Time / p50" in page.read_text()


def test_an_export_of_what_was_not_made_is_refused(done, tmp_path):
    _, recipe, _ = done
    answer = fuse(tmp_path / "space", "export", str(recipe), "--format", "trl", "--to", str(tmp_path / "out"))
    assert answer.returncode == 2 and "fuse run makes it" in answer.stderr and not (tmp_path / "out").exists()


def test_every_stage_stands_in_prefects_history_under_the_users_words(done):
    import sqlite3

    space, _, _ = done
    wait_until(lambda: not (space / "prefect" / "server.json").exists())
    with sqlite3.connect(space / "prefect" / "prefect.db") as history:
        runs = history.execute("select name, state_name from task_run").fetchall()
        (flow,) = history.execute("select name, state_name from flow_run").fetchall()
    assert {state for _, state in runs} == {"Completed"} and len(runs) == 29
    assert {name.split(" · ")[0] for name, _ in runs} == {
        "plan",
        "cache",
        "results",
        "prompt selection",
        "per-model sampling",
        "reward annotation",
        "splitting",
        "SFT records",
        "SFT",
        "pairs",
        "WRPO",
        "evaluation",
        "report",
        "model",
    }
    assert flow[0].startswith("tiny · small · ") and flow[1] == "Completed"


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_corrupt_artifact_is_named_before_anything_heavy_starts(copied, damage):
    space, recipe = copied
    (file,) = (space / "store" / "pairs").rglob("pairs.parquet")
    raw = bytearray(file.read_bytes())
    file.chmod(0o644)
    match damage:
        case "flip":
            raw[len(raw) // 2] ^= 1
            file.write_bytes(raw)
        case "truncate":
            file.write_bytes(raw[:-10])
        case "remove":
            file.unlink()
    answer = fuse(space, "run", str(recipe), "--set", "wrpo.beta=0.2")
    assert answer.returncode == 2 and "pairs.parquet" in answer.stderr and len(answer.stderr.splitlines()) == 1, (
        answer.stderr
    )
    assert not (space / "scratch").exists() and not (space / "prefect").exists()


def test_a_corrupt_manifest_is_named(copied):
    space, recipe = copied
    (file,) = (space / "store" / "wrpo").rglob("MANIFEST.json")
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"seconds"', '"secondz"'))
    answer = fuse(space, "plan", str(recipe))
    assert answer.returncode == 2 and "MANIFEST.json" in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_an_unwritable_store_is_refused_in_a_line(tmp_path):
    recipe = write_recipe(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    answer = fuse(tmp_path / "space", "run", str(recipe), FUSE_STORE=str(tmp_path / "file"))
    assert answer.returncode == 2 and str(tmp_path / "file") in answer.stderr and len(answer.stderr.splitlines()) == 1


def test_an_empty_prompt_file_is_refused_in_a_line(tmp_path):
    recipe = write_recipe(tmp_path)
    (tmp_path / "none.jsonl").write_text("")
    answer = fuse(
        tmp_path / "space", "run", str(recipe), "--set", f"prompts={{kind='file', path='{tmp_path / 'none.jsonl'}'}}"
    )
    assert (
        answer.returncode == 2 and "there are no prompts in" in answer.stderr and len(answer.stderr.splitlines()) == 1
    )
    assert not (tmp_path / "space").exists()


def test_a_model_folder_without_tokenizer_is_refused_in_a_line(done, tmp_path):
    _, recipe, _ = done
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    save_file({"weight": np.zeros(1, "float32")}, tmp_path / "model" / "model.safetensors")
    answer = fuse(
        tmp_path / "space", "run", str(recipe), "--set", f"target={{kind='folder', path='{tmp_path / 'model'}'}}"
    )
    assert answer.returncode == 2 and "target.path" in answer.stderr and "no tokenizer" in answer.stderr
    assert not (tmp_path / "space").exists()


def test_a_work_pool_that_nobody_registered_is_refused_in_a_line(copied, server):
    space, recipe = copied
    words = ("--set", "wrpo.beta=0.2", "--set", "how.wrpo.work_pool=nowhere")
    answer = fuse(space, "run", str(recipe), *words, **server)
    assert answer.returncode == 2 and "stage/nowhere" in answer.stderr, answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert "nothing to do" in fuse(space, "plan", str(recipe), *words[2:]).stdout  # a pool changes no address


@pytest.mark.parametrize(
    ("problem", "tries"), [(Unavailable, 3), (StoreUnreachable, 3), (BadInput, 1), (ProgramFailed, 1)]
)
def test_what_may_pass_is_tried_again_and_bad_input_is_not(server, problem, tries):
    from prefect import flow, task
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.run.orchestrate import PATIENT

    tried = []

    @task(**{**PATIENT, "retries": 2, "retry_delay_seconds": 0})
    def fails():
        tried.append(1)
        raise problem("not now")

    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), pytest.raises(problem):
        flow(lambda: fails(), name="fails")()
    assert len(tried) == tries
