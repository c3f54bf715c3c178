"""How a prompt's responses are checked, as its gold says; and which program a response holds."""

import json

import pytest

from tasks.checks.gold import find_suite
from tasks.checks.sandbox.extraction import extract_program
from tasks.checks.verdicts import ProgramTests

HUMAN_EVAL = {"tests": "def check(candidate):\n    assert candidate(1)", "entry_point": "f", "setup": "import math"}


@pytest.mark.parametrize(
    ("gold", "suite"),
    [
        ("18", None),
        (r"\frac{1}{2}", None),
        ("[1, 2]", None),
        ('["a", "b"]', None),
        ("assert", None),
        ("x == 1", None),
        ("-" * 100_000 + "1", None),
        ("[" * 100_000, None),
        ("assert f(1) == 1", ProgramTests("assert f(1) == 1")),
        (json.dumps(["assert f(1) == 1", "assert f(2)"]), ProgramTests("assert f(1) == 1\nassert f(2)")),
        (json.dumps(HUMAN_EVAL), ProgramTests(**HUMAN_EVAL)),
        (json.dumps({"tests": ["assert 1", "assert 2"]}), ProgramTests("assert 1\nassert 2")),
    ],
)
def test_a_gold_is_tests_or_an_answer(gold, suite):
    assert find_suite(gold) == suite


@pytest.mark.parametrize(
    "wrong",
    [
        {"tests": 1},
        {"tests": "assert 1", "entry": "f"},
        {"tests": "assert 1", "setup": None},
        {"inputs": [1], "outputs": [2]},
        ["assert f(1)", 5],
    ],
)
def test_tests_of_another_form_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^gold"):
        find_suite(json.dumps(wrong))


def test_a_program_that_asserts_nothing_is_no_answer():
    with pytest.raises(ValueError, match=r"^gold: a program without an assert"):
        find_suite("class Test(TestCase):\n    def test(self):\n        self.assertEqual(f(1), 1)")


FIRST, SECOND = "def f(x):\n    return x\n", "class Solution:\n    def g(self): pass\n"


@pytest.mark.parametrize(
    ("text", "entry_point", "program"),
    [
        (FIRST, "f", FIRST),
        (f"So:\n```python\n{FIRST}```\nand it is done", "f", FIRST),
        (f"```\n{FIRST}```", "", FIRST),
        (f"```python\n{FIRST}```\nTry it:\n```python\nf(1)\n```", "f", FIRST),
        (f"```python\n{FIRST}```\nTry it:\n```python\nf(1)\n```", "", FIRST),
        (f"```python\ndef f(): wrong\n```\nNo, rather:\n```py\n{FIRST}```", "f", FIRST),
        (f"```python\n{SECOND}```\n```python\n{FIRST}```", "Solution().g", SECOND),
        (f"```bash\npip install x\n```\n```python\n{FIRST}```\n```text\nout\n```", "f", FIRST),
        (f"It was cut:\n```python\n{FIRST}", "f", FIRST),
        ("```python\nprint(1)\n```", "f", "print(1)\n"),
        ("1. Here:\n   ```python\n   def f(x):\n       return x\n   ```\n", "f", FIRST),
        (f"~~~python\n{FIRST}~~~", "f", FIRST),
        ("```python\nf = lambda x: x\n```\nUsage:\n```python\nprint(f(1))\n```", "", "f = lambda x: x\n"),
        (
            "```python\nimport math\n```\nthen\n```python\ndef f(x): return math.floor(x)\n```",
            "f",
            "import math\n\ndef f(x): return math.floor(x)\n",
        ),
    ],
)
def test_of_a_response_the_program_is_taken(text, entry_point, program):
    assert extract_program(text, entry_point) == program


RIGHT = "def f(x): return x + 1\n"
DOCUMENTED = 'def f(x):\n    """Adds one.\n\n    ```python\n    f(1)\n    ```\n    """\n    return x + 1\n'
FIVE = 'def f(x):\n    """\n```\nf(1)\n```\n"""\n    return x + 1\n'


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"Here:\n```python\n{DOCUMENTED}```\nDone.", DOCUMENTED),
        (f"`````python\n{FIVE}`````\nDone.", FIVE),
        (f"````python\n{FIVE}`````  \nDone.", FIVE),
        (f"~~~~python\n{FIVE}~~~\n~~~~\nDone.", f"{FIVE}~~~\n"),
        (f"````markdown\n# Answer\n```python\n{DOCUMENTED}```\n````\n", DOCUMENTED),
        (f"1. Write:\n   ```python\n   {RIGHT.strip()}\n   ```\n", RIGHT),
        (f"```ipython\n{RIGHT}```\nand so on", RIGHT),
        (f"```sage\r\n{RIGHT}```\r\nand so on", RIGHT),
        (f"\ufeff```python\n{RIGHT}```\nand so on", RIGHT),
        (f"```python\n\ufeff{RIGHT}```\nand so on", RIGHT),
        (f"\ufeff{RIGHT}", RIGHT),
        (f"Use ```f``` so:\n```python\n{RIGHT}```\nand ```x``` not", RIGHT),
    ],
)
def test_a_fence_ends_at_a_bare_fence_of_its_length(text, program):
    assert extract_program(text, "f") == program
