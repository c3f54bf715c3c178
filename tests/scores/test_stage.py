"""Reward annotation as a stage: rows and reasons in the artifact, another reward model beside it, nothing sampled for it."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.config.loading import load_recipe
from flows.fusion import fusion
from infra.errors import BadInput
from tasks.execution import Share, make_share
from tasks.models.served import ScoringFile
from tasks.models.stage import ModelFolder, obtain_model
from tasks.records import PROMPT, RESPONSE, content_id, prompt_id
from tasks.scores.settings import ArmoRMScoring, ScoringHow
from tasks.scores.settings import ProgramScoring as ByProgram
from tasks.scores.stage import annotate_rewards
from tasks.stage import What, lineage, stage
from tests.scores import armo
from tests.workplace import Workplace

SAYS_LENGTH = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    said = row["response"]
    print(json.dumps({"reason": "nothing said"} if not said else {"score": len(said) + (row["answer"] == said)}))
"""
ASKED = {"one": "1", "two": None}
SAID = ("", "1", "eleven")


@stage("stand-in prompts", version="1")
def prompts(run, what, how):
    rows = []
    for words, gold in ASKED.items():
        messages = [{"role": "user", "content": words}]
        empty = dict.fromkeys(PROMPT.names)
        rows.append(empty | {"prompt_id": prompt_id(messages), "messages": messages, "category": "c", "gold": gold})
    pq.write_table(pa.Table.from_pylist(rows, PROMPT), run.folder / "prompts.parquet")


class Saying(What):
    texts: tuple[str, ...] = SAID


@stage("stand-in responses", version="1")
def responses(run, what, how):
    rows = []
    for words in ASKED:
        prompt = prompt_id([{"role": "user", "content": words}])
        for index, text in enumerate(what.texts):
            row = dict.fromkeys(RESPONSE.names, 0)
            rows.append(
                row
                | {"prompt_id": prompt, "sample_index": index, "text": text, "content_id": content_id(prompt, text)}
                | {"finish_reason": "stop", "engine": "by hand"}
            )
    pq.write_table(pa.Table.from_pylist(rows, RESPONSE), run.folder / "responses.parquet")


def annotated(reward, what, texts=SAID, **how):
    said, how = responses(what=Saying(texts=texts)), ScoringHow(**how)
    return annotate_rewards(prompts=prompts(what=What()), reward=reward, responses=said, what=what, how=how)


def by_program(folder, code: str = SAYS_LENGTH):
    file = folder / "check.py"
    file.write_text(code)
    return obtain_model(**ScoringFile(kind="program", path=str(file)).resolve("reward.model"))


def test_a_program_taken_into_the_store_scores_and_says_what_it_cannot(tmp_path, workplace):
    step = annotated(by_program(tmp_path), ByProgram(kind="program"))
    workplace.made(by_program(tmp_path))
    (tmp_path / "check.py").unlink()
    found = workplace.table(step, "scores.parquet").set_index("content_id")
    assert list(found.index) == sorted(found.index) and len(found) == 6
    for words, gold in ASKED.items():
        for text in SAID:
            row = found.loc[content_id(prompt_id([{"role": "user", "content": words}]), text)]
            if text:
                assert row["score"] == len(text) + (gold == text) and pd.isna(row["reason"])
            else:
                assert pd.isna(row["score"]) and row["reason"] == "nothing said"
    counts = workplace.made(step).counts
    assert (counts["rows"], counts["unscored"], counts["truncated"]) == (6, 2, 0)


def test_two_workers_make_each_row_once_and_keep_prompts_together(tmp_path, workplace):
    code = SAYS_LENGTH.replace("for line", f"open({str(tmp_path / 'lives')!r}, 'a').write('x')\nfor line")
    one = annotated(by_program(tmp_path, code), ByProgram(kind="program"))
    alone = Workplace(tmp_path / "alone").table(one, "scores.parquet")
    (tmp_path / "lives").unlink()
    two = annotated(by_program(tmp_path, code), ByProgram(kind="program"), workers=2)
    assert workplace.table(two, "scores.parquet").equals(alone)
    assert (tmp_path / "lives").read_text() == "xx" and workplace.made(two).counts["rows_made"] == 6
    assert sum(part.rows for part in workplace.store.parts(two.pool)) == 6


def test_shares_of_a_step_come_to_its_pool_and_the_step_finds_them(tmp_path, workplace):
    step = annotated(by_program(tmp_path), ByProgram(kind="program"), work_pool="gpu-score", shares=2)
    for item in (item for items in step.inputs.values() for item in items):
        workplace.made(item)
    shares = [Share(number=number, of=2) for number in (1, 2)]
    counts = [make_share(step, share, workplace.store, workplace.launcher) for share in shares]
    assert sum(each["rows_made"] for each in counts) == 6
    made = workplace.made(step).counts
    assert (made["rows_found"], made["rows_made"], made["unscored"]) == (6, 0, 2)


def test_another_program_is_another_reward_model_wherever_it_lies(tmp_path):
    (tmp_path / "moved").mkdir()
    same, moved, changed = (
        by_program(folder, code).fingerprint
        for folder, code in ((tmp_path, SAYS_LENGTH), (tmp_path / "moved", SAYS_LENGTH), (tmp_path, SAYS_LENGTH + "#"))
    )
    assert same == moved != changed


def test_rows_of_armorm_keep_objectives_and_gate_and_are_not_made_twice(tmp_path, workplace):
    source = ModelFolder(kind="folder", path=str(armo.save(tmp_path / "armo"))).resolve("reward.model")
    what = ArmoRMScoring(kind="armorm")
    first = annotated(obtain_model(**source), what)
    found = workplace.table(first, "scores.parquet")
    assert all(len(row) == armo.OBJECTIVES for name in ("objectives", "gate") for row in found[name])
    more = annotated(obtain_model(**source), what, (*SAID, "more"))
    counts = workplace.made(more).counts
    assert (counts["rows_found"], counts["rows_made"]) == (6, 2)
    kept = workplace.table(more, "scores.parquet").set_index("content_id").loc[found["content_id"]]
    assert kept["score"].tolist() == found["score"].tolist()
    assert [list(row) for row in kept["gate"]] == [list(row) for row in found["gate"]]


def test_a_reward_model_that_scores_nothing_is_refused(tmp_path, workplace):
    step = annotated(by_program(tmp_path, SAYS_LENGTH.replace("not said", "True")), ByProgram(kind="program"))
    with pytest.raises(BadInput, match="none of 6 responses has a score; reason of the first: nothing said"):
        workplace.made(step)


def chain(*overrides: str) -> dict[str, str]:
    return {step.label: step.address for step in lineage(fusion(load_recipe("demo", overrides)))}


OTHER = "{name='other', model={kind='tiny-reward', steps=3}}"
THIRD = "{name='third', model={kind='tiny-reward', steps=4}}"
JURY = f"jury=[{OTHER}, {THIRD}]"


def test_another_reward_model_samples_nothing_new():
    alone, more = chain(), chain(JURY)
    assert {label for label in alone if more.get(label) != alone[label]} == {"report"}
    new = set(more) - set(alone)
    sources = ("mirror", "sorter", "roller")
    assert new == {"model · other", "model · third"} | {
        f"reward annotation · {source} by {juror}" for source in sources for juror in ("other", "third")
    }
    assert chain("jury=[]") == alone


def test_the_order_of_the_jury_is_no_matter_for_its_rows():
    turned = chain(f"jury=[{THIRD}, {OTHER}]")
    assert {label for label, address in chain(JURY).items() if turned[label] != address} == {"report"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("jury=[{name='mirror', model={kind='tiny-reward', steps=3}}]", "jury: the name 'mirror' is taken"),
        ("jury=[{name='reward', model={kind='tiny-reward', steps=3}}]", "jury: the name 'reward' is taken"),
        (
            "jury=[{name='a', model={kind='served', id='x', revision='1'}}]",
            "'sequence-classifier' needs a model with weights",
        ),
        (
            "reward.scoring={kind='endpoint'}",
            "scoring.kind: 'endpoint' needs a model of kind 'served', not one of kind 'tiny-reward'",
        ),
        ("reward.scoring={kind='armorm', too_long='cut'}", "reward.scoring.too_long: "),
        ("reward.scoring.kind='rank'", "reward.scoring"),
        ("reward.model={kind='program', path='/nowhere.py'}", "needs a model with weights, not one of kind 'program'"),
        (
            "reward={model={kind='program', path='/nowhere.py'}, scoring={kind='program'}}",
            "reward.model.path: there is no file '/nowhere.py'",
        ),
    ],
)
def test_a_bad_jury_is_named(override, message):
    with pytest.raises(BadInput) as problem:
        fusion(load_recipe("demo", [override]))
    assert message in str(problem.value)


def test_a_served_model_is_named_in_the_chain_and_its_url_is_not():
    served = "reward={model={kind='served', id='a/b', revision='c'}, scoring={kind='endpoint'}}"
    here, there = (chain(served, f"how.scoring.urls={{'a/b'='http://{host}/classify'}}") for host in ("one", "two"))
    assert here == there
    steps = {step.label: step for step in lineage(fusion(load_recipe("demo", [served])))}
    assert json.loads(steps["model · reward"].what.model_dump_json())["id"] == "a/b"
