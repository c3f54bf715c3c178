"""Before anything is imported: no test reaches a hub, or tells anyone that it ran."""

import os
import signal
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", PREFECT_LOGGING_LEVEL="CRITICAL")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it puts into the background deaf to Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A store and a workspace of the test's own; programs are found from the repository's root."""
    from infra.settings import settings
    from tests.workplace import Workplace

    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setenv("FUSE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("FUSE_STORE", raising=False)
    settings.cache_clear()
    yield Workplace(tmp_path)
    settings.cache_clear()
