"""Where published judgements lie that metrics are checked against: too large, and not ours, to be in the repository."""

import os
from pathlib import Path

import pytest

BESIDE = [found.parent for found in Path(__file__).parents[2].glob("*/data/alpaca_eval")]  # of a folder beside this one
FOLDER = Path(os.environ.get("PUBLISHED_JUDGEMENTS") or next(iter(BESIDE), "data"))


def published(name: str) -> Path:
    """A published file, or the end of the test that needs it."""
    if not (FOLDER / name).exists():
        pytest.skip(f"published judgements are not here: {FOLDER / name} (PUBLISHED_JUDGEMENTS says where)")
    return FOLDER / name
