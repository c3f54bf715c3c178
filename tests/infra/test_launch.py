"""Programs: their summary, their failures, and that they never outlive whoever started them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from infra.ending import SAVING
from infra.errors import BadInput, OutOfMemory, ProgramFailed, ProgramKilled, Unavailable
from infra.launch import Environment, Launcher
from infra.settings import settings
from tests.patience import STILL, wait_until

SLEEPER = "tests.infra.sleeper"
ROOTED = {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    return Launcher(slots=1, threads=1)


def test_the_summary_comes_back_with_the_seconds_it_took(launcher, tmp_path):
    summary = launcher.run(SLEEPER, {"kind": "quick"}, tmp_path / "out")
    assert summary["rows"] == 3 and summary["program_seconds"] > 0


SECRETS = ("DATABASE_URL", "PREFECT_API_AUTH_STRING", "AWS_SECRET_ACCESS_KEY", "FUSE_STORE", "HF_TOKEN", "SENTRY_DSN")


def test_a_closed_program_inherits_no_secret_and_no_import_path(launcher, tmp_path, monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "very-secret")
    monkeypatch.chdir(tmp_path)
    told = launcher.run(SLEEPER, {"kind": "tell"}, tmp_path / "out", environment=Environment(closed=True))
    assert "very-secret" not in told["variables"].values()
    assert {"PATH", "OMP_NUM_THREADS", "HF_HUB_OFFLINE"} <= told["variables"].keys()
    assert not {"", str(tmp_path)} & set(told["path"])
    open_one = launcher.run(SLEEPER, {"kind": "tell"}, tmp_path / "out", environment=Environment(variables=ROOTED))
    assert open_one["variables"]["DATABASE_URL"] == "very-secret"  # which a training may need


def test_bad_input_comes_back_as_its_one_line(launcher, tmp_path):
    with pytest.raises(BadInput, match=r"^rows: there are none$"):
        launcher.run(SLEEPER, {"kind": "bad input"}, tmp_path / "out")


def test_what_may_come_back_is_told_apart_from_bad_input(launcher, tmp_path):
    with pytest.raises(Unavailable, match=r"^no GPU is free$"):
        launcher.run(SLEEPER, {"kind": "no GPU"}, tmp_path / "out")


def test_a_bug_comes_back_with_the_end_of_the_log(launcher, tmp_path):
    with pytest.raises(ProgramFailed, match=r"(?s)ended with code 1; the end of .*log.txt.*a bug of ours"):
        launcher.run(SLEEPER, {"kind": "bug"}, tmp_path / "out")


def test_a_lack_of_memory_comes_back_as_its_one_line_and_is_no_bad_input(launcher, tmp_path):
    with pytest.raises(OutOfMemory, match=r"^out of memory: lower how.sft.device_batch_size \(8\)$") as said:
        launcher.run(SLEEPER, {"kind": "no memory"}, tmp_path / "out")
    assert not isinstance(said.value, BadInput)


def test_a_group_of_which_a_process_was_killed_was_killed(launcher, tmp_path):
    with pytest.raises(ProgramKilled, match="was killed by signal 9: "):
        launcher.run(SLEEPER, {"kind": "killed in a group"}, tmp_path / "out", group=2)


def test_a_watcher_that_raises_ends_the_program_and_its_children(launcher, tmp_path):
    def watch():
        if (tmp_path / "out" / "pids").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run(SLEEPER, {"kind": "sleep"}, tmp_path / "out", watch)
    assert_gone(int((tmp_path / "out" / "pids").read_text()))


def test_a_program_and_its_children_end_when_their_starter_is_killed(tmp_path):
    code = (
        f"from infra.launch import Environment, Launcher; from pathlib import Path; "
        f"Launcher(1, 1).run({SLEEPER!r}, {{'kind': 'sleep'}}, Path({str(tmp_path / 'out')!r}))"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    pids = tmp_path / "out" / "pids"
    while not pids.exists():
        assert starter.poll() is None
        time.sleep(0.05)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    assert_gone(int(pids.read_text()))


def test_bad_input_of_a_group_comes_back_as_its_one_line(launcher, tmp_path):
    with pytest.raises(BadInput, match=r"^rows: there are none$"):
        launcher.run(SLEEPER, {"kind": "bad input"}, tmp_path / "out", group=2)


def test_a_group_ends_when_its_starter_is_killed(tmp_path):
    """torchrun puts its workers into sessions of their own, where no signal to our group reaches them."""
    code = (
        f"from infra.launch import Environment, Launcher; from pathlib import Path; "
        f"Launcher(1, 1).run({SLEEPER!r}, {{'kind': 'sleep in a group'}}, Path({str(tmp_path / 'out')!r}), group=2)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    while len(members := list((tmp_path / "out").glob("member-*"))) < 2:
        assert starter.poll() is None
        time.sleep(0.05)
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    for member in members:
        assert_gone(int(member.name.partition("-")[2]))


def interrupted(launcher, out: Path, kind: str, interrupt, group: int = 0) -> tuple[float, list[bool]]:
    """Begins a program in a thread, interrupts it once it sleeps; how long its end took, and what the watcher saw."""
    seen, ended = [], []
    watch = lambda: seen.append((out / "saved").exists())

    def work():
        with pytest.raises(ProgramFailed, match="was stopped"):
            launcher.run(SLEEPER, {"kind": kind}, out, watch, group=group)
        ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    while len(list(out.glob("ready-*"))) < max(group, 1) or not (out / "pids").exists():
        assert thread.is_alive()
        time.sleep(0.05)
    began = time.monotonic()
    interrupt()
    took = time.monotonic() - began
    thread.join(STILL)
    assert ended
    assert_gone(int((out / "pids").read_text()))
    return took, seen


@pytest.fixture
def patience(monkeypatch):
    """Sets how long a program may take to save."""

    def wait(seconds: float) -> None:
        monkeypatch.setenv("FUSE_SAVE_SECONDS", str(seconds))
        settings.cache_clear()

    yield wait
    settings.cache_clear()


def test_an_interrupted_program_may_save_and_is_watched(launcher, tmp_path, patience):
    patience(STILL)
    took, seen = interrupted(launcher, tmp_path / "out", "save", launcher.leave)
    assert took < STILL and seen[-1] and not seen[0]


def test_the_processes_of_a_group_may_save_too(launcher, tmp_path, patience):
    """torchrun passes the signal on to its workers, which no signal to our group reaches."""
    patience(STILL)
    took, seen = interrupted(launcher, tmp_path / "out", "save", launcher.leave, group=2)
    assert took < STILL and seen[-1] and len(list((tmp_path / "out").glob("saved-*"))) == 2


def test_the_processes_of_a_group_have_as_long_as_any_program(launcher, tmp_path, patience, monkeypatch):
    """A big model's checkpoint takes longer than the half minute that torchrun waits of itself, here a second."""
    monkeypatch.setenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1")
    patience(60)
    interrupted(launcher, tmp_path / "out", "save slowly", launcher.leave, group=2)
    assert len(list((tmp_path / "out").glob("saved-*"))) == 2


def test_a_program_that_ignores_the_interruption_is_killed(launcher, tmp_path, patience):
    patience(1)
    took, _ = interrupted(launcher, tmp_path / "out", "ignore", launcher.leave)
    assert 1 <= took < STILL


@pytest.mark.parametrize("group", [0, 2])
def test_a_program_that_says_that_it_saves_takes_as_long_as_that_takes(launcher, tmp_path, patience, group):
    """A big model's step and checkpoint do; three seconds are longer than one."""
    patience(1)
    took, seen = interrupted(launcher, tmp_path / "out", "say so and save slowly", launcher.leave, group=group)
    assert took >= 3 and seen[-1] and not launcher.saving_files


@pytest.mark.parametrize("kind", ["ignore", "say so and save slowly"])
def test_who_interrupts_again_does_not_wait(launcher, tmp_path, patience, kind):
    patience(60)

    def twice():
        again = threading.Timer(1.2, os.kill, (os.getpid(), signal.SIGINT))
        again.start()
        with pytest.raises(KeyboardInterrupt):
            launcher.leave()

    took, seen = interrupted(launcher, tmp_path / "out", kind, twice)
    assert took < 30 and not any(seen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_second_is_the_same_interruption(launcher, tmp_path, patience, number):
    """GNU timeout signals its child and then its group, which holds the child, some microseconds later."""
    patience(60)
    kept = signal.signal(number, signal.default_int_handler)

    def twice():
        threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        try:
            launcher.leave()
        except KeyboardInterrupt:
            pytest.fail("the second signal counted")

    try:
        _, seen = interrupted(launcher, tmp_path / "out", "say so and save slowly", twice)
    finally:
        signal.signal(number, kept)
    assert seen[-1]


def test_a_watcher_that_is_busy_costs_a_program_nothing_of_its_saving(launcher, tmp_path, patience):
    """It may be taking the last checkpoint to the store; two seconds are longer than one."""
    patience(1)
    out, busy = tmp_path / "out", []

    def watch():
        if (out / "pids").exists() and not busy:
            busy.append(True)
            time.sleep(2)

    def work():
        with pytest.raises(ProgramFailed, match="was stopped"):
            launcher.run(SLEEPER, {"kind": "say so and save slowly"}, out, watch)

    thread = threading.Thread(target=work)
    thread.start()
    while not busy:
        time.sleep(0.05)
    launcher.leave()
    thread.join(STILL)
    assert (out / "saved").exists()


def test_messages_of_an_earlier_program_are_ignored(launcher, tmp_path, patience):
    patience(1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SAVING).touch()
    took, _ = interrupted(launcher, tmp_path / "out", "ignore", launcher.leave)
    assert took < STILL


def test_a_failure_that_no_retry_mends_ends_programs_at_once(launcher, tmp_path, patience):
    patience(STILL)
    took, seen = interrupted(launcher, tmp_path / "out", "save", launcher.stopped.set)
    assert took < STILL and not any(seen)


def test_a_program_of_the_main_thread_may_save_too(launcher, tmp_path, patience):
    """A worker brings its one step in its main thread, where the signal is raised."""
    patience(30)
    out, seen = tmp_path / "out", []

    def watch():
        seen.append((out / "saved").exists())
        if (out / "pids").exists() and len(seen) > 1 and not raised:
            raised.append(True)
            raise KeyboardInterrupt

    raised: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        launcher.run(SLEEPER, {"kind": "save"}, out, watch)
    assert seen[-1]


def test_a_main_threads_program_may_save_when_signalled_twice(launcher, tmp_path, patience):
    patience(30)
    out, seen = tmp_path / "out", []

    def watch():
        seen.append((out / "saved").exists())
        if (out / "pids").exists() and not raised:
            raised.append(True)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            raise KeyboardInterrupt

    raised: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        launcher.run(SLEEPER, {"kind": "save"}, out, watch)
    assert seen[-1]


def test_nothing_is_begun_once_the_run_is_leaving(launcher, tmp_path):
    launcher.leave()
    with pytest.raises(ProgramFailed, match="was not started"):
        launcher.run(SLEEPER, {"kind": "quick"}, tmp_path / "out")


def assert_gone(pid: int) -> None:
    """Gone, or a zombie that nobody here has to reap."""

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except FileNotFoundError:
            return True

    wait_until(gone)
