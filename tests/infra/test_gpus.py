"""Which GPUs there are: by the driver's list, or by what a scheduler has given; missing ones are no bad input."""

import pytest

from infra.errors import Unavailable
from infra.gpus import Gpu, find_gpus, require_gpus
from infra.settings import settings

CUT = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-7f57)
  MIG 2g.20gb     Device  0: (UUID: MIG-377e)
  MIG 1g.10gb     Device  1: (UUID: MIG-f39a)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-8c7c)"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that lists these lines, or fails where there are none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def show(lines: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<END\n{lines}\nEND\n" if lines else "#!/bin/sh\nexit 9\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    yield show
    settings.cache_clear()


def listed(count: int) -> str:
    return "\n".join(f"GPU {number}: H100 (UUID: GPU-{number}a)" for number in range(count))


def test_the_drivers_list_says_what_there_is(driver):
    driver(listed(2))
    assert find_gpus() == [Gpu("0", "GPU-0a"), Gpu("1", "GPU-1a")]
    driver("")
    assert find_gpus() == []


def test_a_gpu_that_is_cut_into_instances_is_its_instances(driver):
    driver(CUT)
    assert [gpu.name for gpu in find_gpus()] == ["MIG-377e", "MIG-f39a", "1"]


@pytest.mark.parametrize(
    ("given", "uuids"),
    [
        ("3,1", ["GPU-3a", "GPU-1a"]),
        ("GPU-2a,GPU-0", ["GPU-2a", "GPU-0a"]),  # a UUID may be cut short
        ("1,1", ["GPU-1a"]),
        ("1,-1,2", ["GPU-1a"]),  # as CUDA reads it
        ("-1", []),
        ("NoDevFiles", []),  # Slurm, for a job without GPUs
        ("", []),
        ("7", ["7"]),  # which the driver does not list
    ],
)
def test_what_a_scheduler_has_given_is_all_there_is(driver, monkeypatch, given, uuids):
    """Whatever it calls them, the same GPU has the same UUID in every process."""
    driver(listed(4))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert [gpu.uuid for gpu in find_gpus()] == uuids


def test_fewer_than_promised_are_unavailable(driver, monkeypatch):
    driver(listed(1))
    monkeypatch.setenv("FUSE_GPUS", "2")
    settings.cache_clear()
    with pytest.raises(Unavailable, match="FUSE_GPUS is 2, but this machine has 1 GPUs"):
        require_gpus()
    driver(listed(2))
    require_gpus(2)
    with pytest.raises(Unavailable, match="needs 8 GPUs, this machine has 2"):
        require_gpus(8)


def test_on_cores_alone_no_program_is_refused(driver):
    driver("")
    require_gpus(8)
