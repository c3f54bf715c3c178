"""Programs that read standard input, by the cases of public sets in their layouts; made samples, as the sets are not here."""

import base64
import json
import pickle
import time
import zlib

import pytest

from tasks.checks.cases import Cases
from tasks.checks.gold import find_suite
from tasks.checks.verdicts import ProgramTests
from tests.checks.attacks import ESCAPES
from tests.checks.canary import Canary
from tests.checks.entry import check_texts
from tests.checks.poisoned import EXTRACTION, STATEMENTS

FENCE = "```"
LISTED = [
    {"input": "3\n1 2 3\n", "output": "6", "testtype": "stdin"},
    {"input": "1\n-5", "output": "-5\n", "testtype": "stdin"},
]
PACKED = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(LISTED)))).decode()
SUM = "n = int(input())\nprint(sum(map(int, input().split())))\n"
LAYOUTS = {
    "code contests": {
        "public_tests": {"input": ["3\n1 2 3\n"], "output": ["6\n"]},
        "private_tests": {"input": ["1\n-5\n"], "output": ["-5\n"]},
        "generated_tests": {"input": [], "output": []},
        "time_limit": {"seconds": 2, "nanos": 500_000_000},
        "memory_limit_bytes": 256_000_000,
    },
    "code contests, one list": {"input": ["3\n1 2 3\n"], "output": ["6"]},
    "live code bench": {"public_test_cases": json.dumps(LISTED[:1]), "private_test_cases": PACKED, "metadata": "{}"},
    "live code bench, public": LISTED,
    "live code bench, for its evaluator": {"inputs": ["3\n1 2 3"], "outputs": ["6"], "fn_name": None},
    "apps": {"inputs": ["3\n1 2 3\n", ["1", "-5"]], "outputs": ["6\n", ["-5"]]},
}
FUNCTIONS = {
    "live code bench": {
        "public_test_cases": [{"input": "[1, 2, 3]\n2", "output": "[2, 4, 6]", "testtype": "functional"}],
        "metadata": {"func_name": "scale"},
    },
    "live code bench, for its evaluator": {"inputs": ["[1]\n3"], "outputs": ["[3]"], "fn_name": "scale"},
    "apps": {"inputs": [[[1, 2], 2], [[], 1]], "outputs": [[[2, 4]], [[]]], "fn_name": "scale"},
}


@pytest.mark.parametrize("gold", LAYOUTS.values(), ids=LAYOUTS)
def test_a_right_script_passes_and_a_wrong_one_does_not(means, tmp_path, gold):
    texts = {
        "plain": (SUM, "passed"),
        "in a fence": (f"Read the numbers:\n{FENCE}python\n{SUM}{FENCE}\nExample:\n{FENCE}\n6\n{FENCE}", "passed"),
        "with a main": (
            "def main():\n    input()\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n"
            "    main()\n    exit()",
            "passed",
        ),
        "by sys.stdin": (
            "import sys\ndata = sys.stdin.buffer.read().split()\nprint(sum(map(int, data[1:])))",
            "passed",
        ),
        "in a thread, for its stack": (
            "import threading\ndef main():\n    input(); print(sum(map(int, input().split())))\n"
            "threading.stack_size(1 << 27)\nthread = threading.Thread(target=main)\nthread.start()\nthread.join()",
            "passed",
        ),
        "wrong": (SUM.replace("sum", "max"), "failed"),
        "says nothing": ("input()", "failed"),
        "says too much": (SUM + "print(0)", "failed"),
        "raises": (SUM + "raise ValueError('no')", "error"),
        "needs a package": ("import nowhere\n" + SUM, "unchecked"),
    }
    if gold in (LAYOUTS["code contests, one list"], LAYOUTS["live code bench, for its evaluator"]):
        texts["wrong"] = (SUM.replace("sum", "min"), "failed")
    found = check_texts(tmp_path, [(text, json.dumps(gold)) for text, _ in texts.values()], means, seconds=20)
    told = {name: (one["verdict"], one["reason"]) for name, one in zip(texts, found, strict=True)}
    assert {name: verdict for name, (verdict, _) in told.items()} == {
        name: verdict for name, (_, verdict) in texts.items()
    }, told


@pytest.mark.parametrize("gold", FUNCTIONS.values(), ids=FUNCTIONS)
def test_cases_that_call_a_function_find_it_alone_or_in_a_class(box, tmp_path, gold):
    function = "def scale({}x, by):\n    return tuple(one * by for one in x)\n"
    method = "class Solution:\n    " + function.format("self, ").replace("\n    ", "\n        ")
    wrong = function.format("").replace("* by", "+ by")
    rows = [(text, json.dumps(gold)) for text in (function.format(""), f"{FENCE}python\n{method}{FENCE}", wrong)]
    found = check_texts(tmp_path, rows)
    assert [one["verdict"] for one in found] == ["passed", "passed", "failed"], found


COMPARED = {  # written, expected; and by which rules they are the same
    "equal": ("1 2\n3\n", "1 2\n3", {"lines", "tokens", "close"}),
    "spaces at ends": (" 1 2 \n 3 \n\n", "1 2\n3", {"lines", "tokens", "close"}),
    "spaces between": ("1  2\n3", "1 2\n3", {"lines", "tokens", "close"}),
    "other lines": ("1\n2\n3", "1 2\n3", {"tokens", "close"}),
    "case": ("YES", "yes", {"tokens"}),
    "a number in another form": ("1.0", "1", {"lines", "tokens", "close"}),
    "a number that is near": ("0.333333", "0.3333333333", {"tokens", "close"}),
    "large numbers that are near": ("1000000.5", "1000000.9", {"close"}),
    "a number that is not near": ("0.33", "0.3333333333", set()),
    "another order": ("2\n1", "1\n2", set()),
    "too few": ("1", "1 2", set()),
    "nothing": ("", "", {"lines", "tokens", "close"}),
    "nothing where something is": ("", "0", set()),
    "no number": ("nan", "nan", {"lines", "tokens", "close"}),
    "a word for a number": ("one", "1", set()),
    "a gigantic number": ("1e999999999", "1", set()),
}


@pytest.mark.parametrize("rule", ["lines", "tokens", "close"])
def test_outputs_are_compared_as_the_authors_of_a_set_do(box, tmp_path, rule):
    layout = {"lines": {"fn_name": None}, "tokens": None, "close": {}}[rule]
    names = ("input", "output") if layout is None else ("inputs", "outputs")
    golds = [{names[0]: ["x"], names[1]: [expected], **(layout or {})} for _, expected, _ in COMPARED.values()]
    rows = [
        (f"print({written!r}, end='')", json.dumps(gold))
        for (written, _, _), gold in zip(COMPARED.values(), golds, strict=True)
    ]
    found = check_texts(tmp_path, rows)
    same = {name for name, one in zip(COMPARED, found, strict=True) if one["verdict"] == "passed"}
    assert same == {name for name, (_, _, rules) in COMPARED.items() if rule in rules}


def test_attacks_on_cases_are_contained_and_have_their_verdicts(means, tmp_path, monkeypatch):
    canary = Canary(tmp_path / "place")
    monkeypatch.chdir(canary.folder)
    place = {"secret": str(canary.folder / "secret"), "port": 1}
    scripts = [f"{code.format_map(place)}\nprint(f(5))" for code in ESCAPES.values()]
    scripts += [f"{one}\nprint(6)" for one in STATEMENTS.values()] + list(EXTRACTION.values())
    scripts += [
        'import os\nfor one in range(64):\n    try: os.write(one, b\'{"verdict": "passed", "passed": 1, "total": 1}\')\n'
        "    except OSError: pass",
        "import os\nos.write(1, b'x' * (1 << 25))",
        "print(open(0).read()); print('x' * (1 << 22)); raise SystemExit(0)",
    ]
    gold = json.dumps({"input": ["5\n"], "output": ["no script can know this"]})
    rows = [(text, gold) for text in scripts] + [("print('no script can know this')", gold)]
    found = check_texts(tmp_path / "job", rows, means, seconds=10, memory_megabytes=256)
    assert [text for text, one in zip(scripts, found, strict=False) if one["verdict"] == "passed"] == []
    assert found[-1]["verdict"] == "passed" and canary.find_harm() == ""


def test_the_limits_of_a_case_are_those_of_the_data(box, tmp_path):
    slow = {"input": ["1", "2"], "output": ["1", "2"]}
    limited = {"public_tests": slow, "time_limit": {"seconds": 0, "nanos": 400_000_000}}
    large = {"public_tests": slow, "memory_limit_bytes": 64 << 20}
    text = "import time\ntime.sleep(1.2)\nprint(input())"
    many = "held = bytearray(200 << 20)\nprint(input())"
    started = time.monotonic()
    found = check_texts(
        tmp_path, [(text, json.dumps(slow)), (text, json.dumps(limited)), (many, json.dumps(large))], seconds=60
    )
    assert [one["verdict"] for one in found] == ["passed", "timeout", "error"], found
    assert time.monotonic() - started < 60


def test_a_pickle_that_holds_more_than_a_text_is_refused():
    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    packed = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    with pytest.raises(ValueError, match=r"^gold: test cases as a pickle that holds more"):
        find_suite(json.dumps({"private_test_cases": packed}))


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ({"inputs": ["1"], "outputs": ["1"]}, Cases),
        ({"inputs": [[1]], "outputs": [1], "fn_name": "f"}, ProgramTests),
    ],
)
def test_layouts_are_told_apart(gold, kind):
    assert isinstance(find_suite(json.dumps(gold)), kind)


@pytest.mark.parametrize("name", ["two_sum", "größe", "℘"])
def test_a_function_may_have_any_name_that_python_allows(name):
    suite = find_suite(json.dumps({"inputs": [[1]], "outputs": [1], "fn_name": name}))
    assert isinstance(suite, ProgramTests) and suite.entry_point == name
