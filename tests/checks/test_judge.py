"""What a verdict says: programs and tests as people write them, by the sandbox that this machine has."""

import time

import pytest

from tasks.checks import verdicts as judge_module
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.verdicts import Limits, ProgramTests, judge_response
from tests.checks.attacks import HOGS
from tests.patience import STILL

ADD = "class Solution:\n    def add(self, a: int, b: int = 1) -> int:\n        return a + b"
STACK = "class Stack:\n    def __init__(self): self.all = []\n    def push(self, one): self.all.append(one)\n" + (
    "    def pop(self): return self.all.pop()"
)
CASES = {  # program, tests, verdict, assertions that held, all of them, a word of the reason
    "all hold": ("def f(x): return x", ProgramTests("assert f(1) == 1\nassert f(2) == 2"), "passed", 2, 2, ""),
    "one does not": (
        "def f(x): return 1",
        ProgramTests("assert f(1) == 1\nassert f(2) == 2"),
        "failed",
        1,
        2,
        "assertion 2",
    ),
    "one is broken": (
        "def f(x): return 1 // x",
        ProgramTests("assert f(0) == 1\nassert f(1) == 1"),
        "failed",
        1,
        2,
        "ZeroDivision",
    ),
    "a loop counts each time": (
        "def f(x): return x",
        ProgramTests("for n in range(5):\n    assert f(n) == n"),
        "passed",
        5,
        5,
        "",
    ),
    "check is called": (
        ADD,
        ProgramTests("def check(candidate):\n    assert candidate(a=1, b=2) == 3", "Solution().add"),
        "passed",
        1,
        1,
        "",
    ),
    "the response's own check is not called with itself": (
        "def check(x):\n    return int(x)",
        ProgramTests("assert check('1') == 1", "check"),
        "passed",
        1,
        1,
        "",
    ),
    "a module that the tests forgot is not the response's": (
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef area(r): return 0",
        ProgramTests("assert math.isclose(area(3), 28.27, rel_tol=0.001)"),
        "failed",
        0,
        1,
        "assertion 1",
    ),
    "nor is any second name": (
        "def same(a, b): return True\ndef f(x): return 0",
        ProgramTests("assert same(f(1), 5)"),
        "unchecked",
        0,
        0,
        "unknown which of them the response must define",
    ),
    "an answer that leads past every assertion": (
        "def f(x): return []",
        ProgramTests("for a, b in zip(f(1), [1, 2]):\n    assert a == b"),
        "failed",
        0,
        1,
        "0 values where the tests have 2",
    ),
    "an answer that leads past the only assertion": (
        "def f(x): return []",
        ProgramTests("for a in f(1):\n    assert a == 1"),
        "failed",
        0,
        0,
        "past every assertion",
    ),
    "an answer that ends before what it is compared with": (
        "def f(x): return [1][:x]",
        ProgramTests("assert f(0) == []\nfor a, b in zip(f(5), [1, 2, 3]):\n    assert a == b"),
        "failed",
        2,
        3,
        "1 values where the tests have 3",
    ),
    "also in one assertion": (
        "def f(x): return []",
        ProgramTests("assert f(0) == []\nassert all(a == b for a, b in zip(sorted(f(5)), [1, 2, 3]))"),
        "failed",
        2,
        3,
        "0 values where the tests have 3",
    ),
    "a loop over an empty answer": (
        "def f(x): return []",
        ProgramTests("assert f(0) == []\nfor one in f(9):\n    assert one % 2 == 0"),
        "unchecked",
        1,
        1,
        "led past 1 assertions, the first in line 3",
    ),
    "all of an empty answer": (
        "def f(x): return []",
        ProgramTests("assert f(0) == []\nfound = f(9)\nassert all(one % 2 == 0 for one in found)"),
        "unchecked",
        2,
        2,
        "led past 1 assertions",
    ),
    "a loop that would call a function that asserts": (
        "def f(x): return []",
        ProgramTests("def even(one):\n    assert one % 2 == 0\nassert f(0) == []\nfor one in f(9):\n    even(one)"),
        "unchecked",
        1,
        1,
        "led past 1 assertions, the first in line 5",
    ),
    "a condition that an answer does not meet": (
        "def f(x): return 'x'",
        ProgramTests("assert f(0)\nif isinstance(f(1), int):\n    assert f(1) == 2"),
        "unchecked",
        1,
        1,
        "led past 1",
    ),
    "an error that hides an assertion": (
        "def f(x): return 0 // x + 1 - x // x",
        ProgramTests(
            "try:\n    found = f(0)\nexcept Exception:\n    pass\nelse:\n    assert found == 7\nassert f(1) == 0"
        ),
        "unchecked",
        1,
        1,
        "led past 1",
    ),
    "a right answer may lead past what tests guard": (
        "def f(x):\n    if x < 0: raise ValueError(x)\n    return list(range(x))",
        ProgramTests(
            "import sys\nif sys.version_info < (3,):\n    assert f(0) == 'old'\nif f(1) != [0]:\n    assert False, 'wrong'\n"
            "if f(2):\n    assert f(2)[1] == 1\nelse:\n    assert f(2) == [0, 1]\n"
            "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    assert True\n"
            "try:\n    f(-2)\nexcept TypeError:\n    assert f(0) == 1\nexcept ValueError:\n    pass\n"
            "def unused():\n    assert f(1) == 2\nfor a, b in zip(f(3), [0, 1, 2]):\n    assert a == b\n"
            "for a, b in zip(f(3), f(3)[1:]):\n    assert a < b\nassert all(one >= 0 for one in f(3))"
        ),
        "passed",
        8,
        8,
        "",
    ),
    "a data class with annotations as text": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
        "def f(x): return P(x).x",
        ProgramTests("assert f(3) == 3"),
        "passed",
        1,
        1,
        "",
    ),
    "iterators, ranges and fractions are values": (
        "from fractions import Fraction\nfrom collections import deque\ndef f(k):\n    return {'g': (x for x in [1]),"
        " 'm': map(abs, [-1]), 'r': range(2), 'd': deque([1]), 'v': {1: 2}.values(), 'q': Fraction(1, 2)}[k]",
        ProgramTests(
            "assert list(f('g')) == [1]\nassert list(f('m')) == [1]\nassert f('r') == range(2)\n"
            "assert list(f('d')) == [1]\nassert sorted(f('v')) == [2]\nassert f('q') == 0.5"
        ),
        "passed",
        6,
        6,
        "",
    ),
    "a text that is an Enum's": (
        "from enum import Enum\nclass E(str, Enum):\n    A = 'a'\ndef f(x): return E.A",
        ProgramTests("assert f(1) == 'a'"),
        "passed",
        1,
        1,
        "",
    ),
    "an iterator without end": (
        "from itertools import count\ndef f(x): return count()",
        ProgramTests("assert f(1) == 1"),
        "failed",
        0,
        1,
        "more than 100,000",
    ),
    "objects are called": (STACK, ProgramTests("s = Stack()\ns.push(3)\nassert s.pop() == 3"), "passed", 1, 1, ""),
    "an error is expected": (
        "def f(x): raise KeyError(x)",
        ProgramTests("try:\n    f(1)\n    assert False\nexcept KeyError:\n    assert True"),
        "passed",
        1,
        1,
        "",
    ),
    "values cross as they are": (
        "def f(x): return x",
        ProgramTests(
            "for v in (None, True, 2**99, -0.5, 'ü', b'\\0', 1j, (1, [2]), {3: {4}}, frozenset('a'), float('inf')):\n"
            "    assert f(v) == v and type(f(v)) is type(v)"
        ),
        "passed",
        11,
        11,
        "",
    ),
    "what is expected is not the response's": (
        "def f(x): return x\ndef right(x): return x",
        ProgramTests("assert f(1) == right(1)", "f"),
        "failed",
        0,
        1,
        "NameError",
    ),
    "no number is not equal": (
        "def f(x): return float('nan')",
        ProgramTests("assert f(1) == float('nan')"),
        "failed",
        0,
        1,
        "",
    ),
    "setup serves both": (
        "def f(x: List[int]): return sum(x)",
        ProgramTests("assert f([n]) == n", setup="from typing import *\nn = 3"),
        "passed",
        1,
        1,
        "",
    ),
    "a name without setup": (
        "def f(x: List[int]): return sum(x)",
        ProgramTests("assert f([1]) == 1"),
        "error",
        0,
        0,
        "NameError: name 'List' is not defined",
    ),
    "a name that is not there on a path that is never run": (
        "def f(x):\n    return x if x else nowhere",
        ProgramTests("assert f(1) == 1"),
        "passed",
        1,
        1,
        "",
    ),
    "no syntax": ("def f(x) return", ProgramTests("assert f(1)"), "error", 0, 0, "SyntaxError"),
    "raises when loaded": (
        "raise OSError('nowhere')\ndef f(x): return 1",
        ProgramTests("assert f(1)"),
        "error",
        0,
        0,
        "nowhere",
    ),
    "a package that is not offered": (
        "import nowhere.part\ndef f(x): return 1",
        ProgramTests("assert f(1)"),
        "unchecked",
        0,
        0,
        "checks.packages: the response imports 'nowhere'",
    ),
    "the same when it is called": (
        "def f(x):\n    from nowhere import part",
        ProgramTests("assert f(1)"),
        "unchecked",
        0,
        0,
        "imports 'nowhere'",
    ),
    "a module that Python does not have": (
        "import json.nowhere\ndef f(x): return 1",
        ProgramTests("assert f(1)"),
        "error",
        0,
        0,
        "json.nowhere",
    ),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\ndef f(x):\n    with ThreadPoolExecutor(2) as pool:\n"
        "        return list(pool.map(abs, x))",
        ProgramTests("assert f([-1]) == [1]"),
        "unchecked",
        0,
        0,
        "does not allow threads",
    ),
    "a file of its own": (
        "import tempfile\ndef f(x):\n    with tempfile.TemporaryFile() as file: file.write(x)\n    return x",
        ProgramTests("assert f(b'a') == b'a'"),
        "unchecked",
        0,
        0,
        "the sandbox has no folder for temporary files",
    ),
    "exit": (
        "def f(x):\n    return x\nif f(1) == 2:\n    exit(1)\nif f(1) == 3: quit()",
        ProgramTests("assert f(1) == 1"),
        "passed",
        1,
        1,
        "",
    ),
    "the truth, the length and the text of an object": (
        "import re\nclass Bag:\n    def __init__(self, one): self.one = one\n    def __len__(self): return len(self.one)\n"
        "    def __iter__(self): return iter(self.one)\n    def __repr__(self): return f'Bag({self.one})'\n"
        "    def __getitem__(self, at): return self.one[at]\n"
        "def f(x): return re.match('a', x) if isinstance(x, str) else Bag(x)",
        ProgramTests(
            "def check(f):\n    assert f('a')\n    assert not f('b')\n    assert f('b') is None\n"
            "    assert f('a').group() == 'a'\n"
            "    bag = f([1, 2])\n    assert len(bag) == 2 and list(bag) == [1, 2] and 2 in bag and 3 not in bag\n"
            "    assert str(bag) == repr(bag) == 'Bag([1, 2])'\n    assert bag[1] == 2",
            "f",
        ),
        "passed",
        7,
        7,
        "",
    ),
    "errors of the library, and of their families": (
        "import json\ndef f(kind):\n    if kind == 'json': json.loads('x')\n    if kind == 'text': b'\\xff'.decode()\n"
        "    if kind == 'key': {}['k']\n    if kind == 'file': open('nowhere')\n    if kind == 'args': raise ValueError(1, [2])",
        ProgramTests(
            "import json\n"
            "for kind, expected in [('json', json.JSONDecodeError), ('json', ValueError), ('text', UnicodeDecodeError),\n"
            "                       ('text', ValueError), ('key', KeyError), ('key', LookupError), ('file', OSError)]:\n"
            "    try:\n        f(kind)\n        assert False\n    except expected:\n        assert True\n"
            "try:\n    f('key')\nexcept KeyError as problem:\n    assert problem.args == ('k',) and str(problem) == \"'k'\"\n"
            "try:\n    f('args')\nexcept ValueError as problem:\n    assert problem.args == (1, [2])"
        ),
        "passed",
        9,
        9,
        "",
    ),
    "errors of its own": (
        "class Wrong(ValueError): pass\nclass Worse(Wrong): pass\ndef f(x): raise Worse('no', x)",
        ProgramTests(
            "for _ in range(2):\n    try:\n        f(1)\n        assert False\n    except ValueError as problem:\n"
            "        assert problem.args == ('no', 1) and type(problem).__name__ == 'Worse'"
        ),
        "passed",
        2,
        2,
        "",
    ),
    "errors of its own, by their names": (
        "class Wrong(ValueError): pass\nclass Worse(Wrong): pass\ndef f(x): raise Worse('no')",
        ProgramTests(
            "for _ in range(2):\n    try:\n        f(1)\n        assert False\n    except Other:\n        assert False\n"
            "    except (KeyError, Wrong):\n        assert True"
        ),
        "passed",
        2,
        2,
        "",
    ),
    "values of the library": (
        "from collections import namedtuple, Counter, defaultdict, OrderedDict, deque\nimport datetime as d\n"
        "P = namedtuple('P', 'x y')\ndef f(k):\n    return {'p': P(1, 2), 'c': Counter('aab'), 'd': defaultdict(int, a=1),\n"
        "    'o': OrderedDict(a=1), 'q': deque([1, 2], 3), 'day': d.date(2024, 2, 29), 'b': bytearray(b'x'),\n"
        "    't': d.datetime(2024, 2, 29, 12, 30), 'h': d.time(1, 2), 's': d.timedelta(days=1, seconds=5)}[k]",
        ProgramTests(
            "from collections import Counter, deque, OrderedDict\nimport datetime as d\n"
            "assert f('p').x == 1 and f('p') == (1, 2)\nassert f('c')['z'] == 0 and f('c') == Counter('aab')\n"
            "assert f('d')['z'] == 0\nassert list(f('o')) == ['a'] and f('o') == OrderedDict(a=1)\n"
            "assert f('q') == deque([1, 2]) and f('q').maxlen == 3\nassert f('day') == d.date(2024, 2, 29)\n"
            "assert f('b') == bytearray(b'x')\nassert f('t') == d.datetime(2024, 2, 29, 12, 30)\n"
            "assert f('h') == d.time(1, 2)\nassert f('s') == d.timedelta(days=1, seconds=5)"
        ),
        "passed",
        10,
        10,
        "",
    ),
    "tests that print what the response gave": (
        "def f(x): return 'x' * 100_000",
        ProgramTests("print(f(1))\nimport os, sys\nsys.stdout.flush()\nassert len(f(1)) == 100_000"),
        "passed",
        1,
        1,
        "",
    ),
    "types": (
        "def f(values, kind): return [one for one in values if type(one) is not kind] or kind",
        ProgramTests("assert f([4, 7.7], int) == [7.7]\nassert f([4], int) is int"),
        "passed",
        2,
        2,
        "",
    ),
    "an async function": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    if x < 0: raise ValueError(x)\n    return x + 1",
        ProgramTests(
            "import asyncio\nassert asyncio.run(f(1)) == 2\nasync def main():\n    assert await f(2) == 3\n"
            "asyncio.run(main())\ntry:\n    asyncio.run(f(-1))\n    assert False\nexcept ValueError:\n    assert True"
        ),
        "passed",
        3,
        3,
        "",
    ),
    "a class that the tests define": (
        "def turn(head: Node) -> Node:\n    before = None\n    while head:\n"
        "        head.next, before, head = before, head, head.next\n    return before",
        ProgramTests(
            "class Node:\n    def __init__(self, val, next=None):\n        self.val, self.next = val, next\n"
            "def values(node):\n    return [node.val, *values(node.next)] if node else []\n"
            "assert values(turn(Node(1, Node(2, Node(3))))) == [3, 2, 1]\n"
            "assert isinstance(turn(Node(4)), Node)",
        ),
        "passed",
        2,
        2,
        "",
    ),
    "a function with the name of a built-in one": (
        "def sum(a, b): return a + b",
        ProgramTests("assert sum(1, 2) == 3\nassert sum(2, 2) == 4"),
        "passed",
        2,
        2,
        "",
    ),
    "tests that use a built-in function": (
        "def sum(x): return 0\ndef f(x): return x",
        ProgramTests("assert sum(f([1, 2])) == 3"),
        "passed",
        1,
        1,
        "",
    ),
    "objects that only the response could compare": (
        "class P:\n    def __eq__(self, other): return True\ndef f(x): return P()",
        ProgramTests("def check(f):\n    assert f(1) == f(2)", "f"),
        "unchecked",
        0,
        0,
        "two objects of the response",
    ),
    "is not there": ("def g(x): return 1", ProgramTests("assert f(1) == 1"), "failed", 0, 1, "NameError"),
    "prints": ("print('hello')\ndef f(x): print(x); return x", ProgramTests("assert f(1) == 1"), "passed", 1, 1, ""),
    "reads what nobody types": ("def f(x): return input()", ProgramTests("assert f(1) == 1"), "failed", 0, 1, "EOF"),
    "ends in the middle": (
        "import os\ndef f(x): return x or os._exit(0)",
        ProgramTests("assert f(1)\nassert f(0) == 0"),
        "error",
        1,
        1,
        "ended",
    ),
    "does not end": (
        "def f(x):\n    while x: pass\n    return 0",
        ProgramTests("assert f(0) == 0\nassert f(1) == 0"),
        "timeout",
        1,
        1,
        "time",
    ),
    "tests that call nothing": ("def f(x): return x", ProgramTests("assert 1"), "unchecked", 1, 1, "nothing"),
    "tests that assert nothing": ("def f(x): return x", ProgramTests("f(1)"), "unchecked", 0, 0, "nothing"),
    "tests that are no program": (
        "def f(x): return x",
        ProgramTests("assert f(1) =="),
        "unchecked",
        0,
        0,
        "cannot be run",
    ),
    "tests that need what is not there": (
        "def f(x): return x",
        ProgramTests("import nowhere\nassert f(1)"),
        "unchecked",
        0,
        0,
        "nowhere",
    ),
    "an argument that is changed in place": (
        "class Solution:\n    def rotate(self, matrix) -> None:\n        matrix[:] = [list(row)[::-1] for row in zip(*matrix)]",
        ProgramTests(
            "def check(f):\n    m = [[1, 2], [3, 4]]\n    assert f(matrix=m) is None\n    assert m == [[3, 1], [4, 2]]",
            "Solution().rotate",
        ),
        "passed",
        2,
        2,
        "",
    ),
    "dictionaries and sets too, and only those that were changed": (
        "def f(a, b, c, *, d): a['k'] = 2; b.clear(); d[0].append(3)",
        ProgramTests(
            "a, b, c, d = {}, {1}, [5], [[1]]\nf(a, b, c, d=d)\nassert (a, b, c, d) == ({'k': 2}, set(), [5], [[1, 3]])"
        ),
        "passed",
        1,
        1,
        "",
    ),
    "one that is changed wrongly": (
        "def f(x): x.reverse()",
        ProgramTests("x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"),
        "failed",
        0,
        1,
        "assertion 1",
    ),
    "who answers something changes nothing": (
        "def f(x):\n    x.clear()\n    return []",
        ProgramTests("x = [3, 1]\nassert f(x) == sorted(x)"),
        "failed",
        0,
        1,
        "assertion 1",
    ),
    "nor who only says to have changed it": (
        "import json\nplain = json.dumps\nleft = [{'tuple': [[]]}, {'dict': []}]\n"
        "json.dumps = lambda said: plain({**said, 'left': left} if 'value' in said else said)\ndef f(x): return []",
        ProgramTests("x = [3, 1]\nassert f(x) == sorted(x)"),
        "failed",
        0,
        1,
        "assertion 1",
    ),
    "nor who answers nothing where an answer is compared": (
        "def f(x): x.clear()",
        ProgramTests(
            "def largest(x): return max(x) if x else None\n"
            "def same(one, other): assert one == other\n"
            "x = [3, 1]\nassert f(x) == largest(x)\nsame(f(x), largest(x))\nsaid = f(x)\nassert said == largest(x)"
        ),
        "failed",
        0,
        3,
        "assertion 1",
    ),
    "of an object's method too": (
        "class Box:\n    def sort(self, x): x.sort()",
        ProgramTests("box, x = Box(), [3, 1]\nassert box.sort(x) == None\nassert x == [1, 3]", "Box"),
        "passed",
        2,
        2,
        "",
    ),
    "tests that give functions": (
        "def f(g): return g(1)",
        ProgramTests("assert f(abs) == 1"),
        "unchecked",
        0,
        0,
        "not a plain value",
    ),
}


@pytest.mark.parametrize(("code", "tests", "verdict", "passed", "total", "reason"), CASES.values(), ids=CASES)
def test_a_verdict_has_its_counts_and_its_reason(box, code, tests, verdict, passed, total, reason):
    found = judge_response(box, code, tests, Limits(seconds=3 if verdict == "timeout" else STILL))
    assert (found.verdict, found.passed, found.total) == (verdict, passed, total), found
    assert reason in found.reason and "\n" not in found.reason


def test_a_candidate_sees_neither_the_tests_nor_another_candidate(box):
    """Each begins where every other one began: what one leaves in its interpreter the next does not find."""
    spoil = "import builtins, sys\nbuiltins.kept = sys.modules['kept'] = 1\ndef f(x): return 'kept' in dir(builtins)"
    look = "import builtins, sys\ndef f(x): return 'kept' in dir(builtins) or 'kept' in sys.modules"
    assert judge_response(box, spoil, ProgramTests("assert f(1) is True"), Limits(STILL)).verdict == "passed"
    assert judge_response(box, look, ProgramTests("assert f(1) is False"), Limits(STILL)).verdict == "passed"


def test_the_same_program_has_the_same_verdict_every_time(box):
    """Neither the order of a set of texts nor random numbers are another's in the next process."""
    code = "import random\ndef f(x): return [''.join({'ab', 'cd', 'ef', 'gh'}), random.random()]"
    said = judge_response(
        box,
        code,
        ProgramTests("assert f(0) == 0, 1\nassert 'x' in str(f(0)), 2\nraise ValueError(f(0))"),
        Limits(STILL),
    )
    again = judge_response(
        box,
        code,
        ProgramTests("assert f(0) == 0, 1\nassert 'x' in str(f(0)), 2\nraise ValueError(f(0))"),
        Limits(STILL),
    )
    assert said.verdict == "error" and said == again


def test_the_deadline_holds_where_the_tests_read_an_answer(box, monkeypatch):
    """They build a set of what the response sent, in which no line of Python runs that could look at the clock."""
    monkeypatch.setattr(judge_module, "GRACE", 2 * STILL)
    code = HOGS["colliding hashes for the tests to build"]
    started = time.monotonic()
    assert judge_response(box, code, ProgramTests("assert f(1) == 1"), Limits(seconds=1)).verdict == "timeout"
    assert time.monotonic() - started < STILL


def test_modules_can_be_imported_under_every_sandbox(means):
    """Also such as are packages, or in shared libraries, and tracebacks, which read the files of modules."""
    modules = (
        "decimal, json, statistics, zoneinfo, sqlite3, xml.etree.ElementTree, email.message, asyncio, unittest, ctypes"
    )
    code = (
        f"import {modules}, traceback\ndef f(x):\n    try: return 1 / 0\n"
        "    except ZeroDivisionError: return traceback.format_exc().splitlines()[-1]"
    )
    with sandbox.Sandbox(means) as own:
        found = judge_response(
            own, code, ProgramTests("assert f(0) == 'ZeroDivisionError: division by zero'"), Limits(seconds=30)
        )
    assert found.verdict == "passed", found
