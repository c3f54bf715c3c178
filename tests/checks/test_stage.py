"""Responses to their checks: what each row says, what is counted, and that rows are made once for each gold."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from infra.errors import BadInput
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.stage import Checking, CheckingHow, check_responses
from tasks.execution import Share, make_share
from tasks.records import PROMPT, RESPONSE, content_id, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import What, stage
from tests.checks.answers import HANGING
from tests.checks.canary import Canary
from tests.checks.poisoned import STATEMENTS
from tests.workplace import Workplace

CODE = json.dumps({"tests": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], "entry_point": "add"})
WORLD = {  # prompt: its gold, what was said to it, and of each the score, the verdict, and assertions that held
    "half of one": ("0.5", [(r"\boxed{\frac{1}{2}}", 1, "passed", 1), ("Perhaps 2.", 0, "failed", 0)]),
    "add": (
        CODE,
        [
            ("Here:\n```python\ndef add(a, b):\n    return a + b\n```\nCall it: `add(1, 2)`.", 1, "passed", 2),
            ("```python\ndef add(a, b):\n    return a - b\n```", 0, "failed", 1),
            ("```python\ndef add(a, b):\n    return a + c\n```", 0, "failed", 0),
            ("```python\nimport json.nowhere\ndef add(a, b):\n    return a + b\n```", 0, "error", 0),
            ("def add(a, b):\n    import time\n    time.sleep(1e6)", 0, "timeout", 0),
        ],
    ),
    "how are you": (None, [("Fine.", None, "unchecked", 0)]),
    "how much": ("  ", [("Much.", None, "unchecked", 0)]),
    "odd tests": ('{"tests": ["assert x"], "entry": "x"}', [("x = 1", None, "unchecked", 0)]),
    "a tower": ("7", [(rf"\boxed{{{HANGING[0]}}}", None, "timeout", 0), ("7", 1, "passed", 1)]),
}


class Golds(What):
    changed: str = ""


@stage("stand-in prompts", version="1")
def prompts(run, what, how):
    turns = {text: [{"role": "user", "content": text}] for text in WORLD}
    rows = [
        {"prompt_id": prompt_id(turns[text]), "messages": turns[text], "category": "", "gold": gold}
        for text, (gold, _) in WORLD.items()
    ]
    rows[0]["gold"] = what.changed or rows[0]["gold"]
    write_table(run, pd.DataFrame(rows).assign(part=None, response=None), PROMPT, "prompts.parquet")


@stage("stand-in model", version="1")
def model(run, what, how):
    (run.folder / "nothing").write_text("")


@stage("stand-in responses", version="1")
def responses(run, what, how):
    rows = [
        {"prompt_id": prompt, "sample_index": index, "text": one[0], "content_id": content_id(prompt, one[0])}
        for text, (_, said) in WORLD.items()
        for prompt in [prompt_id([{"role": "user", "content": text}])]
        for index, one in enumerate([*said, said[0]])  # the first twice: it is checked once
    ]
    rest = {"prompt_tokens": 1, "tokens": 1, "finish_reason": "stop", "seed": 0, "engine": "none"}
    write_table(run, pd.DataFrame(rows).assign(**rest), RESPONSE, "responses.parquet")


def step(changed: str = "", how: CheckingHow | None = None, **what):
    inputs = {
        "prompts": prompts(what=Golds(changed=changed)),
        "model": model(what=What()),
        "responses": responses(what=What()),
    }
    return check_responses(**inputs, what=Checking(seconds=20, answer_seconds=5, **what), how=how or CheckingHow())


@pytest.fixture
def able():
    try:
        sandbox.find_sandbox().__exit__()
    except BadInput as problem:
        pytest.skip(str(problem))


def test_every_response_has_its_row_and_rows_are_made_once_for_each_gold(workplace, able):
    made = workplace.made(step())
    rows = workplace.table(step(), "scores.parquet").set_index("content_id")
    expected = {
        content_id(prompt_id([{"role": "user", "content": text}]), said[0]): (text, *said)
        for text, (_, many) in WORLD.items()
        for said in many
    }
    assert rows.index.tolist() == sorted(expected)
    for content, (prompt, text, score, verdict, passed) in expected.items():
        row = rows.loc[content]
        assert (row["verdict"], row["passed"]) == (verdict, passed), (prompt, text, row.to_dict())
        assert row["score"] == score or (score is None and pd.isna(row["score"]))
        assert bool(row["reason"]) == ((verdict != "passed" and row["kind"] != "math") or verdict == "timeout")
    assert {name: made.counts[name] for name in ("rows", "rows_made", "passed", "failed", "error", "timeout", "unchecked")} == {
        "rows": 12, "rows_made": 10, "passed": 3, "failed": 3, "error": 1, "timeout": 2, "unchecked": 3,
    }  # fmt: skip
    assert [made.counts[f"ran_in_{means}"] for means in sandbox.MEANS if f"ran_in_{means}" in made.counts] == [5]

    again = workplace.made(step(changed="2"))
    assert (again.counts["rows_found"], again.counts["rows_made"]) == (8, 2)
    found = workplace.table(step(changed="2"), "scores.parquet").set_index("content_id")["score"]
    first, second = [content for content, one in expected.items() if one[0] == "half of one"]
    assert (found[first], found[second]) == (0, 1)


def test_workers_and_shares_check_every_response_once(workplace):
    """Compared as text, which needs no sandbox."""
    alone = Workplace(workplace.folder / "alone").table(step(kind="exact"), "scores.parquet")
    crew = step(how=CheckingHow(workers=2, work_pool="cpu", shares=2), kind="exact")
    for item in (item for items in crew.inputs.values() for item in items):
        workplace.made(item)
    made = [make_share(crew, Share(number=number, of=2), workplace.store, workplace.launcher) for number in (1, 2)]
    total = workplace.made(crew).counts
    assert sum(each["rows_made"] for each in made) == total["rows_found"] and total["rows_made"] == 0
    assert min(each["rows_made"] for each in made) > 0
    assert workplace.table(crew, "scores.parquet").equals(alone)
    assert sum(part.rows for part in workplace.store.parts(crew.pool)) == total["rows_found"]


POISONED = (
    "a relative star import",
    "a star import of the package",
    "100,000 signs",
    "50,000 nots",
    "20,000 elifs",
    "a tower of powers",
    "a module that runs tests",
    "a module that reads arguments",
    "a package of the working folder",
)


def test_a_stage_with_poisoned_responses_writes_every_verdict(workplace, means, tmp_path, monkeypatch):
    """One among ten for each of several prompts; the stage works in a folder that has the package they name."""
    canary, root = Canary(tmp_path / "place"), Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.chdir(canary.folder)
    fence, right = "```", "def add(a, b):\n    return a + b\n"
    monkeypatch.setattr(sys.modules[__name__], "WORLD", {
        name: (CODE, [
            (f"{fence}python\n{STATEMENTS[name]}\n{right}{fence}", 0, "error", 0),
            (f'{fence}python\ndef add(a, b):\n    """\n{STATEMENTS[name]}"""\n    return a + b\n{fence}', 1, "passed", 2),
            *[(f"{number}:\n{fence}python\n{right}{fence}", 1, "passed", 2) for number in range(8)],
        ])
        for name in POISONED
    })  # fmt: skip
    rows = workplace.table(step(how=CheckingHow(sandboxes=(means,))), "scores.parquet")
    assert canary.find_harm() == ""
    assert rows["verdict"].value_counts().to_dict() == {
        "passed": 9 * len(POISONED),
        "error": len(POISONED) - 1,
        "unchecked": 1,  # what imports a package, which might be offered
    }


def test_the_program_of_a_stage_inherits_no_secret(workplace, able, monkeypatch):
    """Looked at from outside, while it waits for a response that does not end."""
    monkeypatch.setenv("DATABASE_URL", "very-secret")
    monkeypatch.setattr(
        sys.modules[__name__], "WORLD", {"add": (CODE, [("def add(a, b):\n    while True: pass", 0, "", 0)])}
    )
    with ThreadPoolExecutor(1) as threads:
        made = threads.submit(workplace.made, step())
        seen: dict[int, dict] = {}
        while not made.done():
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if "tasks.checks" in " ".join(process.cmdline()):  # before that it is still a copy of this process
                        seen[process.pid] = process.environ()
            time.sleep(0.05)
    assert made.result().counts["timeout"] == 1 and len(seen) >= 3  # the program, its sandbox, and what plays in it
    assert not any("very-secret" in variables.values() for variables in seen.values())


def test_where_no_prompt_has_a_gold_every_row_says_so(workplace, monkeypatch):
    for name in list(WORLD):
        if name not in ("how are you", "how much"):
            monkeypatch.delitem(WORLD, name)
    rows = workplace.table(step(), "scores.parquet")
    assert rows["score"].isna().all() and set(rows["reason"]) == {"the prompt has no gold"} and len(rows) == 2


def test_exact_checks_compare_text_and_run_nothing(workplace, monkeypatch):
    said = {"7": (" 7\n", True), "7.0": ("7", False), "assert x": ("assert x", True), '{"tests": "x"}': ("x", False)}
    for name in list(WORLD):
        monkeypatch.delitem(WORLD, name)
    for gold, (text, right) in said.items():
        monkeypatch.setitem(WORLD, f"say {gold}", (gold, [(text, int(right), "", 0)]))
    monkeypatch.setattr(sandbox, "find_sandbox", None)
    rows = workplace.table(step(kind="exact"), "scores.parquet").set_index("content_id")
    for gold, (text, right) in said.items():
        row = rows.loc[content_id(prompt_id([{"role": "user", "content": f"say {gold}"}]), text)]
        assert (row["kind"], row["verdict"]) == ("exact", "passed" if right else "failed"), gold
        assert (row["score"], row["passed"], row["total"]) == (right, right, 1)


def test_a_machine_without_a_sandbox_still_compares_answers(tmp_path, monkeypatch):
    from tasks.checks.check import check_rows
    from tasks.program import Progress

    def none(*_):
        raise BadInput("checks: no sandbox")

    monkeypatch.setattr(sandbox, "find_sandbox", none)
    job = {
        "what": Checking().model_dump(),
        "how": CheckingHow(batch_size=1).model_dump(mode="json"),
        "threads": 1,
        "rows": str(tmp_path / "rows.parquet"),
    }
    write_rows = lambda gold: pd.DataFrame([{"content_id": "c", "gold_id": "g", "gold": gold, "text": "7"}]).to_parquet(
        job["rows"]
    )
    write_rows("7")
    assert check_rows(job, tmp_path, Progress(tmp_path)) == {}
    assert pd.read_parquet(tmp_path / "part-000000000.parquet")["score"].tolist() == [1]
    write_rows("assert x == 7")
    with pytest.raises(BadInput, match="no sandbox"):
        check_rows(job, tmp_path, Progress(tmp_path))
