"""The check program as the stage runs it: texts of responses and their golds in, rows with verdicts out."""

from pathlib import Path

import pandas as pd

from tasks.checks.check import check
from tasks.checks.stage import Checking, CheckingHow
from tasks.program import Progress


def write_job(folder: Path, rows: list[tuple[str, str]], means: str = "", threads: int = 2, **what) -> dict:
    """The job of these (text, gold) pairs, with its rows written to a file; `means` names the only sandbox to take."""
    folder.mkdir(parents=True, exist_ok=True)
    table = [
        {"content_id": f"{n:05d}", "gold_id": "g", "text": text, "gold": gold} for n, (text, gold) in enumerate(rows)
    ]
    pd.DataFrame(table).to_parquet(folder / "rows.parquet")
    how = CheckingHow(**({"sandboxes": (means,)} if means else {}))
    settings = {"what": Checking(**what).model_dump(mode="json"), "how": how.model_dump(mode="json")}
    return {"rows": str(folder / "rows.parquet"), "threads": threads, **settings}


def read_verdicts(folder: Path) -> list[dict]:
    parts = [pd.read_parquet(part) for part in sorted(folder.glob("part-*.parquet"))]
    return pd.concat(parts).sort_values("content_id").to_dict("records")


def check_texts(folder: Path, rows: list[tuple[str, str]], means: str = "", **what) -> list[dict]:
    """The rows that the check program leaves for these (text, gold) pairs, in their order."""
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    check(write_job(folder, rows, means, **what), out, Progress(out))
    found = read_verdicts(out)
    assert len(found) == len(rows)
    return found
