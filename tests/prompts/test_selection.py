"""Prompt selection as a stage: sources, sets in order, limits, counts that add up, evidence, and what its address hears."""

import hashlib
import json
from types import SimpleNamespace

import fsspec
import pandas as pd
import pytest

import infra.inputs
from flows.config.loading import load_recipe
from infra.errors import BadInput
from infra.launch import Launcher
from infra.store import Store
from tasks.execution import Run
from tasks.prompts.identity import HubIdentity
from tasks.prompts.sets import SELECTIONS, PromptSets, ReadySelection
from tasks.prompts.sources import HubSet, PromptFile
from tasks.prompts.stage import select_prompts
from tasks.records import prompt_id
from tests.prompts.texts import Writer


def select(folder, source=None, **resolved) -> tuple[dict, dict[str, pd.DataFrame]]:
    """The counts and tables that the stage leaves."""
    step = select_prompts(**(source.resolve("prompts") if source else resolved))
    run = Run(
        step, Store(str(folder / "store"), folder / "cache"), Launcher(1, 1), folder / "scratch" / step.fingerprint
    )
    step.stage.work(run, step.what, step.how)
    return run.counts, {file.stem: pd.read_parquet(file) for file in run.folder.glob("*.parquet")}


def address(source) -> str:
    return select_prompts(**source.resolve("prompts")).address


def jsonl(file, rows):
    file.write_text("".join(json.dumps(row if isinstance(row, dict) else {"prompt": row}) + "\n" for row in rows))
    return {"kind": "file", "path": str(file)}


def said(messages) -> list[str]:
    return [turns[-1]["content"] for turns in messages]


def test_sets_are_taken_in_order_and_every_row_is_accounted_for(tmp_path):
    writer = Writer(1)
    first, second = writer.texts(40), writer.texts(30)
    near = writer.thinned(" ".join(writer.draw(60)), 0.02)
    benchmark = jsonl(tmp_path / "bench.jsonl", [{"text": second[3], "id": "three"}])["path"]
    one = jsonl(tmp_path / "one.jsonl", [*first, first[0], "", near, "Write a Python function."])
    two = jsonl(tmp_path / "two.jsonl", [*second, first[1], f"{near} indeed", writer.wrapped(second[3])])
    source = PromptSets(
        kind="sets",
        sets=[
            {
                "name": "one",
                "source": {**one, "bad_rows": "drop"},
                "filters": [{"kind": "no-code"}],
                "category": "chat",
            },
            {"name": "two", "source": two, "category": "more"},
        ],
        near_duplicates={},
        decontamination={"benchmarks": [{"name": "bench", "path": benchmark, "text": "text", "id": "id"}]},
    )
    counts, tables = select(tmp_path, source)
    dropped, prompts, origins = tables["dropped"], tables["prompts"], tables["origins"]
    assert counts["rows_read"] == 44 + 33 == counts["rows"] + len(dropped) == len(prompts) + len(dropped)
    assert {name: number for name, number in counts.items() if name.startswith("dropped")} == {
        f"dropped_{reason}": number for reason, number in dropped["reason"].str.replace("-", "_").value_counts().items()
    }
    by_reason = {reason: rows[["set", "row"]].values.tolist() for reason, rows in dropped.groupby("reason")}
    assert by_reason["duplicates"] == [["one", 41], ["two", 31]]
    assert by_reason["bad_row"] == [["one", 42]] and by_reason["no-code"] == [["one", 44]]
    assert by_reason["near_duplicates"] == [["two", 32]] and by_reason["contaminated"] == [["two", 4], ["two", 33]]
    evidence = tables["contamination"]
    assert evidence[evidence["contaminated"]]["item"].unique().tolist() == ["three"]
    assert prompts["prompt_id"].is_monotonic_increasing and prompts["prompt_id"].is_unique
    assert origins["prompt_id"].tolist() == prompts["prompt_id"].tolist()
    assert (prompts["category"] == origins["set"].map({"one": "chat", "two": "more"})).all()
    assert counts["from_one"] + counts["from_two"] == counts["rows"]


def test_the_limit_takes_the_lowest_ids_whatever_the_order(tmp_path):
    texts = Writer(2).texts(50)
    kept = []
    for order in (texts, texts[::-1]):
        file = jsonl(tmp_path / "some.jsonl", order)
        kept.append(select(tmp_path, PromptSets(kind="sets", sets=[{"name": "a", "source": file, "limit": 9}]))[1])
    expected = sorted(prompt_id([{"role": "user", "content": text}]) for text in texts)[:9]
    assert [tables["prompts"]["prompt_id"].tolist() for tables in kept] == [expected, expected]


def test_contamination_is_reported_and_kept_when_asked(tmp_path):
    texts = Writer(3).texts(20)
    bench = jsonl(tmp_path / "bench.jsonl", [{"turns": [texts[4], "And then?"]}, {"turns": ["And then?"]}])["path"]
    sets = [{"name": "a", "source": jsonl(tmp_path / "a.jsonl", texts)}]
    check = {"benchmarks": [{"name": "mt", "path": bench, "text": "turns"}]}
    rows = {}
    for action in ("report", "drop"):
        source = PromptSets(kind="sets", sets=sets, decontamination={**check, "action": action})
        counts, tables = select(tmp_path, source)
        rows[action] = counts["rows"]
        evidence = tables["contamination"]
        exact = evidence[evidence["method"] == "exact"].iloc[0]
        assert (counts["contaminated"], exact["benchmark"], exact["item"], exact["set"]) == (1, "mt", "1", "a")
        assert exact["prompt_id"] == prompt_id([{"role": "user", "content": texts[4]}])
        assert (exact["prompt_id"] in set(tables["prompts"]["prompt_id"])) == (action == "report")
    assert rows == {"report": 20, "drop": 19}


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    file = jsonl(tmp_path / "some.jsonl", ["你好", "谢谢"])
    filters = [{"kind": "language", "languages": ["en"]}]
    with pytest.raises(BadInput, match=r"all 2 rows were dropped \(dropped language 2\)"):
        select(tmp_path, PromptSets(kind="sets", sets=[{"name": "a", "source": file, "filters": filters}]))


def test_answers_that_a_set_brings_along_are_kept_beside_the_prompts(tmp_path):
    rows = [{"q": "One?", "a": "Yes."}, {"q": "One?", "a": "No."}, {"q": "Two?", "a": None}]
    file = jsonl(tmp_path / "some.jsonl", rows)
    _, tables = select(tmp_path, PromptFile(**file, columns={"prompt": "q", "response": "a"}))
    assert tables["given_responses"]["text"].tolist() == ["Yes.", "No."] and len(tables["prompts"]) == 2


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A data set as a hub would hold it: two splits of Parquet in a repository's folder, one of two shards."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cached"))
    folder = tmp_path / "team" / "talks"
    folder.mkdir(parents=True)
    for name, texts in {"train-00000-of-00002": "ab", "train-00001-of-00002": "c", "test-00000-of-00001": "d"}.items():
        rows = [
            {"talk": [{"from": "human", "value": text}, {"from": "gpt", "value": "!"}], "other": 1} for text in texts
        ]
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")
    return folder


COLUMNS = {"messages": "talk", "answered": "cut"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("chosen", "texts"),
    [({}, "abc"), ({"split": "test"}, "d"), ({"split": "train", "files": ("train-00001-*.parquet",)}, "c")],
)
def test_a_published_data_set_is_read_split_by_split(published, tmp_path, chosen, texts):
    what = HubIdentity(kind="hub", id=str(published), revision=COMMIT, columns=COLUMNS, **chosen)
    _, tables = select(tmp_path, what=what)
    assert sorted(said(tables["prompts"]["messages"])) == sorted(texts)


def test_a_split_that_is_not_there_is_named(published, tmp_path):
    what = HubIdentity(kind="hub", id=str(published), revision=COMMIT, split="tain", columns=COLUMNS)
    with pytest.raises(BadInput, match='Unknown split "tain"') as problem:
        select(tmp_path, what=what)
    assert "\n" not in str(problem.value)


def test_a_hub_set_is_its_id_revision_config_and_split():
    hub = {"kind": "hub", "id": "team/talks", "revision": COMMIT}
    same = {address(HubSet(**hub)), address(HubSet(**hub, config="", split="train"))}
    others = [
        {"revision": COMMIT[::-1]},
        {"config": "x"},
        {"split": "test"},
        {"id": "team/walks"},
        {"columns": COLUMNS},
    ]
    assert len(same) == 1 and len(same | {address(HubSet(**(hub | other))) for other in others}) == 6


def test_a_hub_set_needs_a_commit():
    with pytest.raises(BadInput, match=r"^prompts\.revision: pin the commit of data set team/talks"):
        HubSet(kind="hub", id="team/talks").resolve("prompts")
    with pytest.raises(ValueError, match="got 'main'"):
        HubSet(kind="hub", id="team/talks", revision="main")


def test_a_local_folder_cannot_pass_for_a_data_set(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="would be read instead of the data set"):
        HubSet(kind="hub", id="team/talks", revision=COMMIT).resolve("prompts")


def test_a_file_is_what_stands_in_it(tmp_path):
    here, there = jsonl(tmp_path / "a.jsonl", ["x"]), jsonl(tmp_path / "b.jsonl", ["x"])
    assert address(PromptFile(**here)) == address(PromptFile(**there)) == address(PromptFile(**here, columns={}))
    assert address(PromptFile(**here)) != address(PromptFile(**jsonl(tmp_path / "c.jsonl", ["y"])))
    resolved = PromptFile(**here).resolve("prompts")
    jsonl(tmp_path / "a.jsonl", ["z"])
    with pytest.raises(BadInput, match="changed while"):
        select(tmp_path, **resolved)


def test_a_folder_of_shards_is_read_as_one_file_of_all_their_rows(tmp_path):
    texts, folder = Writer(4).texts(9), tmp_path / "shards"
    folder.mkdir()
    for place, rows in {"00": texts[:4], "01": [], "02": [*texts[4:], texts[0]]}.items():
        jsonl(folder / f"part-{place}.jsonl", rows)
    whole = PromptFile(**jsonl(tmp_path / "whole.jsonl", [*texts, texts[0]]))
    expected = select(tmp_path, whole)
    for path in (folder, folder / "part-*.jsonl"):
        counts, tables = select(tmp_path, PromptFile(kind="file", path=str(path)))
        assert [counts[name] for name in ("rows", "rows_read", "dropped_duplicates")] == [9, 10, 1]
        for name, table in expected[1].items():
            pd.testing.assert_frame_equal(tables[name], table)


def test_shards_are_known_by_content_in_name_order(tmp_path):
    here, there, turned = (tmp_path / name for name in ("here", "there", "turned"))
    for folder, names in {here: "ab", there: "xy", turned: "ba"}.items():
        folder.mkdir()
        for name, text in zip(names, "12", strict=True):
            jsonl(folder / f"{name}.jsonl", [text])
    of = lambda path, **more: address(PromptFile(kind="file", path=str(path), **more))
    assert of(here) == of(here / "*.jsonl") == of(there) != of(turned)
    assert of(here / "a*.jsonl") == of(here / "a.jsonl") != of(here)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(here.iterdir())]
    listed = hashlib.sha256("".join(f"{one}\n" for one in digests).encode()).hexdigest()
    assert of(here, sha256=listed) == of(here)
    before = of(here)
    jsonl(here / "c.jsonl", ["3"])
    assert of(here) != before


def test_shards_that_cannot_be_read_as_one_are_refused_by_the_field(tmp_path):
    jsonl(tmp_path / "a.jsonl", ["1"])
    resolve = lambda path: PromptFile(kind="file", path=str(path)).resolve("prompts")
    for other in ("b.parquet", "README.md"):
        (tmp_path / other).touch()
        with pytest.raises(BadInput, match=rf"^prompts\.path: .*{other}.* have different formats"):
            resolve(tmp_path)
        (tmp_path / other).unlink()
    with pytest.raises(BadInput, match=r"^prompts\.path: no file matches '.*/\*\.parquet'$"):
        resolve(tmp_path / "*.parquet")
    jsonl(tmp_path / "b.jsonl", [{"question": "2"}])
    with pytest.raises(BadInput, match=r"b\.jsonl, row 1: has neither a prompt nor messages"):
        resolve(tmp_path)


def test_a_benchmark_of_several_files_counts_its_items_on(tmp_path):
    texts = Writer(5).texts(6)
    for name, some in {"one": texts[:2], "two": texts[2:4]}.items():
        jsonl(tmp_path / f"bench-{name}.jsonl", [{"text": text} for text in some])
    sets = [{"name": "a", "source": jsonl(tmp_path / "a.jsonl", texts[3:])}]
    bench = {"name": "bench", "path": str(tmp_path / "bench-*.jsonl"), "text": "text"}
    counts, tables = select(tmp_path, PromptSets(kind="sets", sets=sets, decontamination={"benchmarks": [bench]}))
    assert counts["benchmark_items"] == 4 and set(tables["contamination"]["item"]) == {"4"}


def test_an_object_is_read_like_a_file_and_again_when_it_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(infra.inputs, "settings", lambda: SimpleNamespace(workspace=tmp_path))
    monkeypatch.setattr(infra.inputs, "SCHEMES", ("memory",))
    files = fsspec.filesystem("memory")
    source = PromptFile(kind="file", path="memory://bucket/prompts.jsonl")
    addresses = []
    for text in ("x", "y"):
        files.pipe_file("/bucket/prompts.jsonl", json.dumps({"prompt": text}).encode())
        addresses.append(address(source))
        assert said(select(tmp_path, source)[1]["prompts"]["messages"]) == [text]
    assert addresses[0] != addresses[1]
    (tmp_path / "same.jsonl").write_text('{"prompt": "y"}')
    assert addresses[1] == address(PromptFile(kind="file", path=str(tmp_path / "same.jsonl")))
    for path, message in (("memory://bucket/none.jsonl", "there is no object"), ("nosuch://a/b", "cannot be read")):
        with pytest.raises(BadInput, match=message):
            PromptFile(kind="file", path=path).resolve("prompts")


@pytest.mark.parametrize("name", sorted(file.stem for file in SELECTIONS.glob("*.toml")))
def test_ready_selections_need_every_revision_pinned_and_no_more(name):
    ready = ReadySelection(kind="selection", name=name)
    names = [one.name for one in ready.sets().sets]
    pinned: dict[str, str] = {}
    for one in names:
        with pytest.raises(
            BadInput, match=rf"^prompts\.revisions\.{one}: pin the commit of data set \S+/\S+ "
        ) as problem:
            ready.model_copy(update={"revisions": pinned}).resolve("prompts")
        assert "\n" not in str(problem.value)
        pinned[one] = COMMIT
    what = ready.model_copy(update={"revisions": pinned}).resolve("prompts")["what"]
    assert [one.name for one in what.sets] == names and all(one.category and one.licence for one in ready.sets().sets)


def test_the_ready_selections_hold_what_the_papers_name():
    sets = {one.name: one for one in ReadySelection(kind="selection", name="fusechat3").sets().sets}
    assert len(sets) == 8 and [one.category for one in sets.values()].count("instruction following") == 3
    for one in sets.values():
        kinds = {each.kind for each in one.filters}
        assert (one.category in ("instruction following", "Chinese")) == (kinds >= {"no-code", "no-mathematics"})
        assert (one.category == "coding") == ("has-tests" in kinds)
    assert sum(one.limit for one in sets.values() if one.category == "Chinese") == 10_000
    learned, test = ReadySelection(kind="selection", name="wrpo").sets().sets
    assert {one.source.id for one in (learned, test)} == {"princeton-nlp/llama3-ultrafeedback-armorm"}
    assert (learned.source.split, learned.part) == ("train", None)
    assert (test.source.split, test.part) == ("test", "held_out")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("{kind='selection', name='wrpoo'}", "there is no selection 'wrpoo'; the selections are fusechat3, wrpo"),
        (
            "{kind='selection', name='wrpo', revisions={ultra='x'}}",
            "has no set 'ultra'; its sets are ultrafeedback, ultrafeedback-test",
        ),
        ("{kind='sets', sets=[]}", "prompts.sets: "),
        (
            "{kind='sets', sets=[{name='a', source={kind='file', path='/nowhere'}}]}",
            "prompts.sets.a.source.path: there",
        ),
        ("{kind='sets', sets=[{name='a', source={kind='file'}}]}", "prompts.sets.0.source.path: is missing"),
        (
            "{kind='sets', sets=[{name='a', source={kind='file', path='x'}, filters=[{kind='length', least=3}]}]}",
            "prompts.sets.0.filters.0.least: there is no such field (value 3)",
        ),
        ("{kind='hub', id='a/b', revision='main'}", "got 'main'"),
    ],
)
def test_a_recipe_with_bad_sources_is_told_which_field(prompts, message):
    with pytest.raises(BadInput) as problem:
        load_recipe("demo", [f"prompts={prompts}"]).prompts.resolve("prompts")
    assert message in str(problem.value) and "\n" not in str(problem.value)


def chosen_of(workplace, *sets):
    what = PromptSets.model_validate({"kind": "sets", "sets": list(sets)}).resolve("prompts")
    return select_prompts(**what)


def written(workplace, name, rows):
    file = workplace.folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "file", "path": str(file)}


def test_a_gold_column_that_starts_late_is_read(workplace):
    first = written(workplace, "first", [{"prompt": "a"}, {"prompt": "b", "gold": "1"}])
    later = written(workplace, "later", [{"prompt": "a", "gold": "5"}, {"prompt": "b", "gold": "2"}])
    step = chosen_of(workplace, {"name": "one", "source": first}, {"name": "two", "source": later})
    rows = workplace.table(step, "prompts.parquet")
    assert {row.messages[0]["content"]: row.gold for row in rows.itertuples()} == {"a": "5", "b": "1"}
    assert set(workplace.table(step, "origins.parquet")["set"]) == {"one"}


def test_a_limit_takes_the_lowest_ids_however_many_rows_come(workplace):
    source = written(workplace, "many", [{"prompt": f"question {number}"} for number in range(500)])
    whole = workplace.table(chosen_of(workplace, {"name": "many", "source": source}), "prompts.parquet")
    step = chosen_of(workplace, {"name": "many", "source": source, "limit": 7, "part": "held_out"})
    rows = workplace.table(step, "prompts.parquet")
    assert rows["prompt_id"].tolist() == whole["prompt_id"].tolist()[:7] and set(rows["part"]) == {"held_out"}
    dropped = workplace.table(step, "dropped.parquet")
    assert set(dropped["reason"]) == {"limit"} and sorted([*rows["prompt_id"], *dropped["prompt_id"]]) == sorted(
        whole["prompt_id"]
    )


def test_a_benchmark_without_any_text_is_refused(workplace):
    items = written(workplace, "bench", [{"text": " "}, {"text": "\n"}])
    checked = {"benchmarks": [{"name": "bench", "path": items["path"], "text": "text"}]}
    source = written(workplace, "some", [{"prompt": "a"}])
    what = {"kind": "sets", "sets": [{"name": "some", "source": source}], "decontamination": checked}
    step = select_prompts(**PromptSets.model_validate(what).resolve("prompts"))
    with pytest.raises(
        BadInput, match=r"prompts.decontamination.benchmarks.bench: no item has a text in column 'text'"
    ):
        workplace.made(step)
