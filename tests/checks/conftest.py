"""The sandboxes that this machine has, for tests that judge by them; and the program that checks responses."""

import shutil
import tempfile
from pathlib import Path

import pytest

from infra.errors import BadInput
from tasks.checks.sandbox import outside as sandbox
from tests.checks.entry import check_texts


@pytest.fixture(scope="module")
def box():
    try:
        found = sandbox.find_sandbox()
    except BadInput as problem:
        pytest.skip(str(problem))
    with found:
        yield found


@pytest.fixture
def check_answers(tmp_path):
    """Pairs of gold and response to verdicts, by the program that checks responses."""

    def check_pairs(pairs: list[tuple[str, str]]) -> list[str]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        return [
            row["verdict"] for row in check_texts(folder, [(text, gold) for gold, text in pairs], answer_seconds=30)
        ]

    return check_pairs


@pytest.fixture(scope="module", params=sandbox.MEANS)
def means(request):
    """Each sandbox in its turn, by name."""
    if request.param == "bubblewrap" and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    with sandbox.Sandbox(request.param) as box:
        if weakness := box.weakness():
            pytest.skip(f"this machine has no sandbox by {request.param}: {weakness}")
    return request.param
