"""GPUs that were promised: counted by the driver, missing ones are no bad input."""

import pytest

from infra.errors import Unavailable
from infra.gpus import gpus, require_gpus
from infra.settings import settings


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that shows so many GPUs."""

    def show(count: int) -> None:
        program = tmp_path / "nvidia-smi"
        lines = "".join(f"echo 'GPU {number}: H100 (UUID: x)'\n" for number in range(count))
        program.write_text(f"#!/bin/sh\n{lines or 'exit 9'}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    yield show
    settings.cache_clear()


@pytest.mark.parametrize("count", [0, 2])
def test_the_drivers_list_is_counted(driver, count):
    driver(count)
    assert gpus() == count


def test_fewer_than_promised_are_unavailable(driver, monkeypatch):
    driver(1)
    monkeypatch.setenv("FUSE_GPUS", "2")
    settings.cache_clear()
    with pytest.raises(Unavailable, match="2 wanted, this machine shows 1"):
        require_gpus()
    driver(2)
    require_gpus()
