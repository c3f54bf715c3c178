"""Packages that a recipe offers to programs and their tests: these can be imported, what else is installed cannot."""

import json

import pytest

from infra.errors import BadInput
from tests.checks.attacks import ESCAPES, FAKES, TESTS
from tests.checks.entry import check_texts

pytest.importorskip("numpy")
PLUS = """import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64
    return False

def assertion(out, exp, atol):
    exact = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact and atol != 0:
        np.testing.assert_allclose(out, exp, atol=atol)
    else:
        assert exact

def check(candidate):
    inputs = %s
    results = %s
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""  # in the layout that the data set evalplus/humanevalplus has; its data are not here
GOLD = json.dumps({"tests": PLUS % ([[[1.0, 2.0]], [[]], [[3.5] * 100]], [1.5, 0, 3.5]), "entry_point": "mean"})
INEXACT = json.dumps({"tests": PLUS % ([[[0.1] * 3], [[0.7] * 6]], [0.1, 0.7]), "entry_point": "mean"})
WHOLE = json.dumps({"tests": PLUS % ([[[2, 2]], [[4]]], [2, 4]), "entry_point": "mean"})
ARRAYS = json.dumps(
    {
        "tests": "import numpy as np\ndef check(f):\n    found = f(np.arange(6).reshape(2, 3))\n"
        "    assert found.shape == (3, 2) and (found == np.arange(6).reshape(2, 3).T).all()\n"
        "    assert f(np.float32(2)) == 2 and f(np.array(['a', 'b'])).tolist() == ['a', 'b']",
        "entry_point": "turn",
    }
)


def test_the_tests_of_human_eval_plus_run_with_numpy(means, tmp_path):
    plain = "def mean(x):\n    return sum(x) / len(x) if x else 0"
    with_numpy = "import numpy as np\ndef mean(x):\n    return float(np.mean(x)) if x else 0"
    wrong = "import numpy as np\ndef mean(x):\n    return float(np.median(x)) + 1 if x else 0"
    turn = "import numpy as np\ndef turn(x):\n    return x.T"
    right = [(text, gold) for text in (plain, with_numpy) for gold in (GOLD, INEXACT, WHOLE)]
    rows = [*right, (turn, ARRAYS), (wrong, GOLD), (wrong, INEXACT), (wrong, WHOLE)]
    offered = check_texts(tmp_path / "with", rows, means, packages=("numpy",))
    assert [one["verdict"] for one in offered] == ["passed"] * 7 + ["failed"] * 3, offered
    alone = check_texts(tmp_path / "without", rows, means)
    assert {one["verdict"] for one in alone} == {"unchecked"} and all("numpy" in one["reason"] for one in alone)


def test_nothing_else_that_is_installed_can_be_imported_or_read(means, tmp_path):
    look = "import os, sys\ndef f(x): return [one for one in sys.path if os.path.exists(one + '/pydantic/__init__.py')]"
    steal = "import numpy as np\ndef f(x):\n    return np.fromfile('/etc/passwd', dtype='u1').size and x + 1"
    other = "import pydantic\ndef f(x): return x + 1"
    (tmp_path / "secret").write_text("secret")
    outside = {"secret": str(tmp_path / "secret"), "port": 1}
    texts = [look, steal, other, *(code.format_map(outside) for code in ESCAPES.values()), *FAKES.values()]
    rows = [(texts[0], "assert f(1) == []"), *((text, TESTS) for text in texts[1:])]
    found = check_texts(tmp_path, rows, means, packages=("numpy",), memory_megabytes=512)
    assert found[0]["verdict"] == "passed"
    passed = [text for text, one in zip(texts[1:], found[1:], strict=True) if one["verdict"] == "passed"]
    assert passed == []


def test_a_package_that_is_not_installed_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"checks\.packages: 'no-such-package' is not installed"):
        check_texts(tmp_path, [("def f(x): return x + 1", TESTS)], packages=("no-such-package",))
