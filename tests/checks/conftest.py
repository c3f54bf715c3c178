"""The sandboxes that this machine has, for tests that judge by them; and the program that checks responses."""

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import BadInput
from tasks.checks.check import check
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.stage import Checking
from tasks.program import Progress


@pytest.fixture(scope="module")
def box():
    try:
        found = sandbox.find()
    except BadInput as problem:
        pytest.skip(str(problem))
    with found:
        yield found


@pytest.fixture
def check_answers(tmp_path):
    """Pairs of gold and response to verdicts, by the program that checks responses."""

    def check_pairs(pairs: list[tuple[str, str]]) -> list[str]:
        rows = [
            {"content_id": f"{n}", "gold_id": f"{n}", "gold": gold, "text": text}
            for n, (gold, text) in enumerate(pairs)
        ]
        out = Path(tempfile.mkdtemp(dir=tmp_path))
        pq.write_table(pa.Table.from_pylist(rows), out / "rows.parquet")
        job = {"rows": str(out / "rows.parquet"), "what": Checking(answer_seconds=30).model_dump(), "threads": 2}
        check({**job, "how": {"batch_size": len(rows)}}, out, Progress(out))
        return pq.read_table(out / "part-000000000.parquet")["verdict"].to_pylist()

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
