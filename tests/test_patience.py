"""Patience: work that goes on is never ended, work that stands still is, with what it has printed."""

import subprocess
import sys
import time

import pytest

from tests.patience import StoodStill, end_of, run_while_it_progresses, wait_until

IDLE = 5.0  # of programs that import nothing and give a sign of life 25 times as often
LINES = "for number in range(35): print(number, flush=True); time.sleep(0.2)"
FILES = "for number in range(35): Path(sys.argv[1], 'log.txt').write_text(str(number)); time.sleep(0.2)"
RENEWAL = "while True: Path(sys.argv[1], '_leases', 'a.json').write_text(str(time.time())); time.sleep(0.2)"


def script(body: str, *words) -> list[str]:
    return [sys.executable, "-c", f"import sys, time\nfrom pathlib import Path\n{body}", *map(str, words)]


@pytest.mark.parametrize("body", [LINES, FILES], ids=["lines", "files"])
def test_work_that_goes_on_may_take_longer_than_it_may_stand_still(body, tmp_path):
    began = time.monotonic()
    ended = run_while_it_progresses(script(body, tmp_path), tmp_path, idle=IDLE)
    assert ended.returncode == 0 and time.monotonic() - began > IDLE


@pytest.mark.parametrize("body", ["time.sleep(600)", RENEWAL], ids=["sleep", "renewal"])
def test_work_that_stands_still_is_killed_and_its_words_are_shown(body, tmp_path):
    (tmp_path / "_leases").mkdir()
    process = subprocess.Popen(script(f"print('begun', flush=True)\n{body}", tmp_path), stdout=subprocess.PIPE)
    with pytest.raises(StoodStill, match="begun"):
        end_of(process, tmp_path, idle=IDLE)
    assert process.returncode == -9


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_end(tmp_path):
    child = "import subprocess; subprocess.Popen(['sleep', '600'])\ntime.sleep(600)"
    with pytest.raises(StoodStill):
        run_while_it_progresses(script(child), idle=IDLE)


def test_waiting_lasts_while_the_story_goes_on():
    told = iter(range(1000))
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 2, idle=0.5, story=lambda: str(next(told)))
    with pytest.raises(StoodStill, match="the same"):
        wait_until(lambda: False, idle=0.5, story=lambda: "the same")
