"""A disk that is full: said in a line, nothing half written can be seen, and with room the next run goes on."""

import subprocess

import pytest

from flows.cli import main as cli
from flows.cli import recipes
from infra.settings import settings
from tests.chaos.kills import Attack, redone, unbroken


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, too small for the chain; its size can be changed."""
    place = tmp_path / "disk"
    place.mkdir()
    sized = lambda how, pages: ["mount", "-t", "tmpfs", "-o", f"{how}size={pages * 4096}", "tmpfs", str(place)]
    if subprocess.run(sized("", 14), capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield place, lambda pages: subprocess.run(sized("remount,", pages), check=True)
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_said_in_a_line_and_the_next_run_goes_on(disk, tmp_path, workplace, monkeypatch, capsys):
    place, resize = disk
    monkeypatch.setenv("FUSE_LEASE_SECONDS", "1")  # its release finds no room either, and we live on
    settings.cache_clear()
    expected, _ = unbroken(Attack(str(tmp_path / "calm" / "store"), tmp_path / "calm"))
    attacked, codes, said = Attack(str(place / "store"), tmp_path / "attacked"), [], []
    monkeypatch.setattr(recipes, "plan", lambda chosen: attacked.run())
    for pages in range(15, 80, 5):
        codes.append(cli.main(["plan", "demo"]))
        said += capsys.readouterr().err.splitlines()
        attacked.diary.note("stopped")
        attacked.visible()
        resize(pages)
    assert codes[0] == 1 and codes[-1] == 0 and set(codes) == {0, 1}
    assert len(said) == codes.count(1) > 2
    assert all(
        line.startswith(f"fuse: No space left on device: {place}/store/") and "run again" in line for line in said
    )
    assert attacked.contents() == expected
    assert redone(attacked.diary) == []
