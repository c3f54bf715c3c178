"""Where published judgements lie that metrics are checked against: too large, and not ours, to be in the repository."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("PUBLISHED_JUDGEMENTS", Path(__file__).parents[2] / "shared" / "data"))


def published(name: str) -> Path:
    """A published file, or the end of the test that needs it."""
    if not (FOLDER / name).exists():
        pytest.skip(f"published judgements are not here: {FOLDER / name} (PUBLISHED_JUDGEMENTS says where)")
    return FOLDER / name
