"""The ledger between processes: none has another's GPU, deaths free what they should, the order is kept."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from infra.errors import BadInput, ProgramFailed
from infra.gpus import Gpu
from infra.launch import Launcher
from infra.ledger import Ledger, Request
from infra.ledger_folder import SILENT
from tests.patience import STILL

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path):
    return lambda names="0123": Ledger([Gpu(name, f"GPU-{name}") for name in names], tmp_path / "ledger")


@contextmanager
def waiting(ledger: Ledger, *requests: Request):
    """Threads that wait, each in the queue before the next one comes; the order in which they had their GPUs."""
    had, threads, lock = [], [], threading.Lock()

    def work(request: Request) -> None:
        with ledger.taken(request, on_wait=lambda text: None), lock:
            had.append(request.what)

    for number, request in enumerate(requests, 1):
        threads.append(threading.Thread(target=work, args=(request,), daemon=True))
        threads[-1].start()
        while len(list(ledger.folder.tickets.iterdir())) < number:
            time.sleep(0.01)
    try:
        yield had
    finally:
        for thread in threads:
            thread.join(STILL)


def elsewhere(folder: Path, gpus: int, then: str) -> subprocess.Popen:
    """Another process that takes GPUs and does what is said; returns when it has printed a line."""
    code = f"""
import subprocess, sys, time, os
from pathlib import Path
from infra.gpus import Gpu
from infra.ledger import Ledger, Request
ledger, tell = Ledger([Gpu(n, f"GPU-{{n}}") for n in "0123"], Path({str(folder)!r})), lambda text: print(text, flush=True)
with ledger.taken(Request({gpus}, "theirs"), on_wait=tell) as granted:
    {then or "pass"}
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    process.said = process.stdout.readline()
    return process


SLEEP = "print('taken', flush=True); time.sleep(60)"
START = "p = subprocess.Popen(['sleep', '60'], pass_fds=granted.locks); print(p.pid, flush=True); time.sleep(60)"


def test_a_program_sees_its_grant_and_nothing_else(ledger):
    with ledger().taken(Request(2)) as two, ledger().taken(Request(2)) as others, ledger().taken(Request()) as none:
        assert two.variables == {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        assert others.variables["CUDA_VISIBLE_DEVICES"] == "2,3"
        assert none.variables["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(BadInput, match="WRPO needs 5 GPUs, this machine has 4"), ledger().taken(Request(5, "WRPO")):
        pass


def test_processes_with_different_gpus_share_the_common_ones(ledger):
    with ledger("01").taken(Request(2)), ledger("1023").taken(Request(2)) as others:
        assert others.variables["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_a_killed_process_leaves_no_gpu_taken(ledger, tmp_path):
    other = elsewhere(tmp_path / "ledger", 4, SLEEP)
    told = []
    threading.Timer(1.0, other.kill).start()
    with ledger().taken(Request(4), on_wait=told.append) as granted:
        assert len(granted.gpus) == 4
    assert told[0] == f"waits for 4 GPUs, 0 of 4 free: theirs (process {other.pid}) has 4"
    other.wait()


def test_a_gpu_stays_taken_while_the_program_of_a_killed_launcher_lives(ledger, tmp_path):
    other = elsewhere(tmp_path / "ledger", 3, START)
    program = int(other.said)
    other.kill()
    other.wait()
    had = threading.Event()

    def work() -> None:
        with ledger().taken(Request(2), on_wait=lambda text: None):
            had.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not had.wait(1.0)
    os.kill(program, signal.SIGKILL)
    thread.join(STILL)
    assert had.is_set()


def test_who_died_or_is_suspended_in_the_queue_holds_up_none_behind_it(ledger, tmp_path):
    with ledger().taken(Request(2)):
        died = elsewhere(tmp_path / "ledger", 4, "")
        died.kill()
        died.wait()
        assert list((tmp_path / "ledger/tickets").iterdir())
        with ledger().taken(Request(2)):
            assert not list((tmp_path / "ledger/tickets").iterdir())
        asleep = elsewhere(tmp_path / "ledger", 4, "")
        asleep.send_signal(signal.SIGSTOP)
        (ticket,) = (tmp_path / "ledger/tickets").iterdir()
        os.utime(ticket, (time.time() - SILENT - 1,) * 2)
        with ledger().taken(Request(2)):
            pass
        asleep.kill()
        asleep.wait()


def test_a_big_job_is_not_starved_and_urgent_ones_go_first(ledger):
    shared = ledger()
    with ExitStack() as stack, ExitStack() as one, ExitStack() as three:
        one.enter_context(shared.taken(Request(1)))
        three.enter_context(shared.taken(Request(3)))
        asked = [Request(4, "big"), Request(3, "answers"), Request(3, "sampling", urgency=2)]
        had = stack.enter_context(waiting(shared, *asked))
        three.close()
        time.sleep(1.5)
        assert had == ["sampling"]  # three are free again, and the big one waits for the fourth
        one.close()
    assert had == ["sampling", "big", "answers"]


def test_a_program_that_is_started_again_keeps_its_place(ledger):
    shared = ledger()
    with ExitStack() as stack, shared.taken(Request(4)):
        again = Request(4, "again", since=time.time() - 100)
        had = stack.enter_context(waiting(shared, Request(4, "first"), Request(4, "second"), again))
    assert had == ["again", "first", "second"]


def test_a_small_one_that_is_known_to_be_short_fills_the_gap(ledger, tmp_path):
    shared, progress = ledger(), tmp_path / "progress.json"
    shared.learn(Request(1, rows=10, kind="answers"), 10.0)
    progress.write_text('{"done": 1, "total": 1000000}')
    shared.folder.seen[str(progress)] = (time.time() - 10, 0)
    with ExitStack() as stack, shared.taken(Request(2, "holder", progress=str(progress))):
        time.sleep(0.1)
        long = Request(1, "long", rows=10**9, kind="answers")
        had = stack.enter_context(waiting(shared, Request(4, "big"), long))
        with shared.taken(Request(1, "short", rows=10, kind="answers")):
            had.append("short")
        time.sleep(1.5)
        assert had == ["short"]
    assert sorted(had) == ["big", "long", "short"]


def test_waiting_ends_with_the_run(ledger):
    def pause(seconds: float) -> None:
        raise ProgramFailed("the run is ending")

    with ledger().taken(Request(4)), pytest.raises(ProgramFailed), ledger().taken(Request(1), pause, print):
        pass
    assert not list(ledger().folder.tickets.iterdir())


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    (tmp_path / "ledger").mkdir(mode=0o777)
    (tmp_path / "ledger").chmod(0o777)
    with pytest.raises(BadInput, match=r"FUSE_LEDGER: .* is not a folder that only you"):
        Ledger([Gpu("0", "GPU-0")], tmp_path / "ledger")
    assert Ledger([], tmp_path / "nothing") and not (tmp_path / "nothing").exists()


def test_a_machine_without_gpus_keeps_no_ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    launcher = Launcher(slots=1, threads=1)
    launcher.ledger = Ledger([], tmp_path / "ledger")
    request = Request(1, "w", rows=3)
    assert launcher.run("tests.infra.sleeper", {"kind": "quick"}, tmp_path / "out", request=request)["rows"] == 3
    assert not (tmp_path / "ledger").exists()
