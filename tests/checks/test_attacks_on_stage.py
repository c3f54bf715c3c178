"""Every attack through the stage itself, each as one of ten responses to its prompt: texts in, rows with verdicts out.

The short form takes one attack of each kind. The whole is `pytest -m heavy -s tests/checks/test_attacks_on_stage.py`; it prints
what it counted.
"""

import ctypes
import os
import socket
import time

import pandas as pd
import psutil
import pytest

from tasks.checks.stage import Checking, CheckingHow, check_responses
from tasks.records import PROMPT, RESPONSE, content_id, prompt_id
from tasks.rows.pool import write_table
from tasks.stage import What, stage
from tests.checks import attacks, poisoned
from tests.checks.canary import Canary

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: a process that leaves its parent becomes a child of this one
FENCE = "```"
WORLD: dict[str, list[str]] = {}  # prompt -> its responses


class Name(What):
    of: str


@stage("attacked prompts", version="1")
def prompts(run, what, how):
    rows = [
        {"prompt_id": find_id(name), "messages": ask(name), "category": "", "gold": attacks.TESTS} for name in WORLD
    ]
    write_table(run, pd.DataFrame(rows).assign(part=None, response=None), PROMPT, "prompts.parquet")


@stage("attacked model", version="1")
def model(run, what, how):
    (run.folder / "nothing").write_text("")


@stage("attacks as responses", version="1")
def responses(run, what, how):
    rows = [
        {"prompt_id": find_id(name), "sample_index": place, "text": text, "content_id": content_id(find_id(name), text)}
        for name, texts in WORLD.items()
        for place, text in enumerate(texts)
    ]
    rest = {"prompt_tokens": 1, "tokens": 1, "finish_reason": "stop", "seed": 0, "engine": "none"}
    write_table(run, pd.DataFrame(rows).assign(**rest), RESPONSE, "responses.parquet")


def ask(name: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": name}]


def find_id(name: str) -> str:
    return prompt_id(ask(name))


def list_attacks(place: dict) -> dict[str, dict[str, str]]:
    """Texts by kind and name. Each program is tried as it is, and in a block that needs the one before it, so that the search
    for the program has to parse it. Texts that aim only at this search hold a wrong program: none of them may pass."""
    needs = f"{FENCE}python\nfrom math import *\nimport unicodedata\n{FENCE}\nThen:\n{FENCE}python\n{{}}\nunicodedata\n{FENCE}"
    both = lambda name, code: {name: code, f"{name}, extracted": needs.format(code)}
    wrong = lambda text: text.replace("return x + 1", "return x + 2")
    embedded = {
        f"{name}, {where}": wrong(text)
        for name, statement in poisoned.STATEMENTS.items()
        for where, text in poisoned.embed(statement).items()
    }
    escapes = {name: code.format_map(place) for name, code in attacks.ESCAPES.items()}
    programs = {"escapes": escapes, "fakes": attacks.FAKES, "hogs": attacks.HOGS}
    found = {
        kind: {key: text for name, code in some.items() for key, text in both(name, code).items()}
        for kind, some in programs.items()
    }
    return found | {"extraction": embedded | {name: wrong(text) for name, text in poisoned.EXTRACTION.items()}}


def run_stage(workplace, texts: dict[str, str], means: str, seconds: float, others: int) -> pd.DataFrame:
    """Verdicts with the columns attack (its name, or empty for a right response), verdict and reason."""
    right = [f"Answer {number}:\n{FENCE}python\n{attacks.RIGHT}\n{FENCE}" for number in range(others)]
    WORLD.clear()
    WORLD.update({name: [*right[:5], text, *right[5:]] for name, text in texts.items()})
    name = Name(of=f"{means}: {sorted(texts)}")
    inputs = {"prompts": prompts(what=name), "model": model(what=What()), "responses": responses(what=name)}
    what = Checking(seconds=seconds, memory_megabytes=256)
    step = check_responses(**inputs, what=what, how=CheckingHow(sandboxes=(means,)))
    rows = workplace.table(step, "scores.parquet")
    names = {content_id(find_id(name), text): name for name, text in texts.items()}
    assert len(rows) == len(texts) * (1 + others)
    return rows.assign(attack=rows["content_id"].map(names).fillna(""))[["attack", "verdict", "reason"]]


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A working folder with a package that must not run, a file that must not change, and a socket that nobody may reach."""
    canary = Canary(tmp_path / "place")
    libc = ctypes.CDLL(None)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    before = set(psutil.Process().children(recursive=True))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        def find_harm() -> str:
            found = [canary.find_harm()]
            found += ["its file was changed"] * ((canary.folder / "secret").read_text() != "secret")
            try:
                server.accept()
                found.append("its socket was reached")
            except BlockingIOError:
                pass
            return " and ".join(filter(None, found))

        def list_left() -> list[str]:
            time.sleep(0.5)  # an ended process takes a moment to go
            left = set(psutil.Process().children(recursive=True)) - before
            return [str(one) for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

        yield {"secret": str(canary.folder / "secret"), "port": server.getsockname()[1]}, find_harm, list_left
    libc.prctl(SUBREAPER, 0, 0, 0, 0)


def judge_attacks(workplace, watched, means: str, chosen: dict[str, dict[str, str]], others: int) -> dict[str, int]:
    """Runs a stage for each kind of attack, with so many right responses beside each attack."""
    _, find_harm, list_left = watched
    seconds = {"hogs": 8.0}
    found = {
        kind: run_stage(workplace, texts, means, seconds.get(kind, 30.0), others) for kind, texts in chosen.items()
    }
    rows = pd.concat(found.values())
    hostile, right = rows[rows["attack"] != ""], rows[rows["attack"] == ""]
    assert hostile.loc[hostile["verdict"] == "passed", "attack"].tolist() == []
    assert right.loc[right["verdict"] != "passed"].to_dict("records") == []
    assert find_harm() == "" and list_left() == []
    return {"attacks": len(hostile), "right": len(right), **hostile["verdict"].value_counts().to_dict()}


def test_one_attack_of_each_kind_leaves_nine_right_responses_right(workplace, watched, means):
    kinds = list_attacks(watched[0])
    names = (
        "reads a file of somebody",
        "kills everybody",
        "a number that equals everything",
        "a star import of the package, in its fence",
    )
    chosen = {"some": {name: text for texts in kinds.values() for name, text in texts.items() if name in names}}
    assert judge_attacks(workplace, watched, means, chosen, others=9)["attacks"] == len(names)


@pytest.mark.heavy
def test_every_attack_by_every_sandbox(workplace, watched, means):
    kinds = list_attacks(watched[0])
    assert sum(map(len, kinds.values())) >= 100 and len(kinds["extraction"]) >= 10
    started = time.monotonic()
    counts = judge_attacks(workplace, watched, means, kinds, others=1)
    spent, sizes = time.monotonic() - started, {kind: len(texts) for kind, texts in kinds.items()}
    print(
        f"\n{means}: {sizes}, each beside a right response: 0 escapes, 0 passed, 0 stages ended, 0 processes left; "
        f"{counts}; {spent:.0f} s, load {os.getloadavg()[0]:.1f}"
    )
