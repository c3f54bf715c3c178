"""Texts that aim at whoever only reads a response: at finding its program, at parsing it, at resolving the names in it.

Each is put before a right program, in a fence or in the program itself. `{canary}` is a file that must not be touched;
the package `evil_pkg` lies in the working folder.
"""

RIGHT = "def f(x):\n    return x + 1\n"
STATEMENTS = {
    "a relative star import": "from .utils import *",
    "a star import of the package": "from . import *",
    "many dots": "from ...... import *",
    "100,000 signs": "-" * 100_000 + "1",
    "50,000 nots": "not " * 50_000 + "1",
    "20,000 elifs": "if 0: pass\n" + "elif 0: pass\n" * 20_000,
    "a tower of powers": "**".join(["2"] * 20_000),
    "a module that runs tests": "from unittest.__main__ import *",
    "a module that reads arguments": "from venv.__main__ import *",
    "a package of the working folder": "from evil_pkg.payload import *",
    "a package of the working folder by name": "import evil_pkg.payload",
    "a module that exits": "from this_module_exits import *",
    "a module that prints": "from this import *",
    "100,000 brackets": "[" * 100_000,
    "100,000 calls": "f(" * 100_000 + ")" * 100_000,
    "100,000 attributes": "x" + ".a" * 100_000,
    "10,000 lambdas": "lambda: " * 10_000 + "1",
    "1,000 nested functions": "\n".join(" " * n + f"def g{n}():" for n in range(1000)),
    "a null byte": "x = '\0'",
    "a coding that does not exist": "# coding: nowhere",
    "half of a character": "x = '\\ud800'",
    "an integer of 100,000 digits": "9" * 100_000,
    "an f-string of f-strings": "f'{" * 200,
    "an assignment of 50,000 names": "a = " * 50_000 + "1",
    "globals at the end": "def g():\n    x = 1\n    global x",
    "star import in a function": "def g():\n    from os import *",
    "dynamic code": "__import__('evil_pkg.payload')",
}


def embed(statement: str) -> dict[str, str]:
    """The ways in which a response may hold a statement, with a right program beside it."""
    fence = "```"
    return {
        "its program": f"{statement}\n{RIGHT}",
        "in its fence": f"Here:\n{fence}python\n{statement}\n{RIGHT}{fence}\n",
        "in a docstring": f'{fence}python\ndef f(x):\n    """\n{statement}\n    """\n    return x + 1\n{fence}',
        "in the fence before": f"{fence}python\n{statement}\n{fence}\nand\n{fence}python\n{RIGHT}{fence}",
        "in prose": f"{statement}\n{fence}python\n{RIGHT}{fence}",
    }


HARMLESS = ("in the fence before", "in prose")  # where it is no part of the program: a right program passes
EXTRACTION = {  # aim at the search for the program alone
    "fences without end": "```python\n" * 20_000,
    "fences of two kinds": "```python\n~~~\n" * 20_000,
    "a fence of 100,000 signs": "`" * 100_000 + "python\n" + RIGHT,
    "spaces before a fence": (" " * 2_000 + "\n") * 500 + "```python\n" + RIGHT,
    "a language of 100,000 letters": "```" + "p" * 100_000 + "\n" + RIGHT + "```",
    "definitions by the thousand": "```python\n" + "def f(x): return 0\n" * 20_000 + "```",
    "annotations without end": "```python\nf" + ":" * 100_000 + "\n```",
    "tabs and spaces": "```python\n" + "\t \t " * 50_000 + "\ndef f(x): return 0\n```",
    "lines without end": "\n" * 500_000,
    "carriage returns": "```python\rdef f(x): return x + 1\r```",
    "half of a fence in a fence": "```python\n" + "``\n" * 50_000 + "```",
    "blocks that need each other": "".join(f"```python\ndef g{n}(): return g{n + 1}()\n```\n" for n in range(2_000)),
    "a name of one million letters": "```python\n" + "x" * 1_000_000 + "\n```",
    "nothing": "",
}
