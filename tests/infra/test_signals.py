"""How a killed program is spoken of: by the signal, and by what the kernel has counted meanwhile."""

import pytest

from infra import signals
from infra.signals import describe, killed_for_memory


@pytest.fixture
def counted(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "COUNTERS", tmp_path / "vmstat")
    return lambda number: (tmp_path / "vmstat").write_text(f"nr_free_pages 12\noom_kill {number}\npgfault 7\n")


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (8, "out of memory, since the kernel killed a process for lack of memory meanwhile"),
        (7, "the kernel killed no process for lack of memory, so a person or a scheduler did"),
    ],
)
def test_the_kernel_s_count_says_whether_memory_was_short(counted, after, said):
    counted(7)
    before = killed_for_memory()
    counted(after)
    assert before == 7 and describe(-9, before) == f"was killed by signal 9: {said}"


def test_where_the_kernel_says_nothing_memory_is_the_likely_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(signals, "COUNTERS", tmp_path / "nothing")
    assert describe(-9, killed_for_memory()) == "was killed by signal 9: probably out of memory"
    assert describe(-11, None) == "was killed by signal 11" and describe(3, None) == "ended with code 3"
