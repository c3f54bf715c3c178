"""Programs that start warm: the same as any other, but for the loading of their libraries, and only where a fork is safe."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from infra import warm
from infra.errors import ProgramFailed
from infra.gpus import Gpu
from infra.launch import Environment, Launcher
from infra.ledger import Ledger, Request
from infra.settings import settings
from tests.patience import STILL, wait_until

PROGRAM = """
import os, resource, signal, sys
from pathlib import Path
{loads}
from tasks.program import run_program

def main(job, out, progress):
    return {{
        "pid": os.getpid(), "parent": os.getppid(), "group": os.getpgid(0), "session": os.getsid(0), "here": os.getcwd(),
        "named": __name__, "argv": sys.argv, "variables": dict(os.environ), "code": "{word}",
        "log": os.readlink("/proc/self/fd/1"), "open": sorted(map(int, os.listdir("/proc/self/fd"))),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "interrupted": str(signal.getsignal(signal.SIGINT)),
        {more}
    }}

if __name__ == "__main__":
    run_program(main)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where programs are found that a test writes: `tmp_path`, as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    yield tmp_path
    warm.forget()


def write(place: Path, loads: str = "", more: str = "", word: str = "") -> None:
    (place / "room").mkdir(exist_ok=True)
    (place / "room" / "__init__.py").touch()
    (place / "room" / "seen.py").write_text(PROGRAM.format(loads=loads, more=more, word=word))


def ran(place: Path, number: int = 0, environment: Environment | None = None) -> dict:
    launcher = Launcher(slots=1, threads=1)
    return launcher.run("room.seen", {}, place / f"out-{number}", **{"environment": environment} if environment else {})


def is_warm(seen: dict) -> bool:
    return seen["parent"] != os.getpid()


def test_a_warm_program_finds_what_a_plain_one_finds(place, monkeypatch):
    write(place)
    found = ran(place, 1)
    monkeypatch.setenv("FUSE_WARM", "0")
    settings.cache_clear()
    plain = ran(place, 2)
    settings.cache_clear()
    assert is_warm(found) and not is_warm(plain)
    for name in ("here", "named", "limit", "interrupted", "open"):
        assert found[name] == plain[name], name
    for seen in (found, plain):
        assert seen["group"] == seen["session"] == seen["pid"]
    changed = {name for name, _ in found["variables"].items() ^ plain["variables"].items()}
    assert changed == {"FUSE_WARM"}
    assert found["log"] == str(place / "out-1" / "log.txt") and found["argv"][1:] == [
        *(str(place / "out-1" / "job.json"), str(place / "out-1")),
        "tethered",
    ]


def test_libraries_are_loaded_once_and_the_program_itself_each_time(place):
    (place / "heavy.py").write_text("import os\nprint('loaded', flush=True)\nLOADED_BY = os.getpid()\n")
    write(place, "import heavy", '"loaded by": heavy.LOADED_BY', word="one")
    first = ran(place, 1)
    write(place, "import heavy", '"loaded by": heavy.LOADED_BY', word="two")
    second = ran(place, 2)
    assert first["loaded by"] == second["loaded by"] not in (first["pid"], second["pid"])
    assert (first["code"], second["code"]) == ("one", "two")
    assert not (place / "out-2" / "log.txt").read_text()


@pytest.mark.parametrize(
    "loads",
    [
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        # there may be no GPU here: its parent has another device open
        "sys.modules['__main__'].DRIVERS = ('/dev/null',)",
    ],
    ids=["a thread", "a GPU"],
)
def test_where_a_fork_is_not_safe_a_program_starts_plainly(place, loads):
    write(place, loads)
    assert not is_warm(ran(place))


def test_a_program_that_cannot_be_loaded_says_so_in_its_log(place):
    write(place, "import not_installed")
    with pytest.raises(ProgramFailed, match=r"(?s)room.seen ended with code 1.*No module named 'not_installed'"):
        ran(place)


def test_variables_that_libraries_read_while_they_load_need_another_parent(place, monkeypatch):
    write(place)
    parents = []
    for name, value in (("FUSE_LEASE_SECONDS", "80"), ("HF_HOME", "/a"), ("HF_HOME", "/b")):
        monkeypatch.setenv(name, value)
        seen = ran(place)
        assert is_warm(seen) and seen["variables"][name] == value
        parents.append(warm.CURRENT[0].process.pid)
    assert len(set(parents)) == 2 + (parents[0] != parents[1])
    assert len(set(parents[1:])) == 2


def test_another_python_or_other_variables_start_plainly(place):
    write(place)
    assert not is_warm(ran(place, 1, Environment(variables={"A": "b"})))
    assert not is_warm(ran(place, 2, Environment(python=os.path.realpath(sys.executable), variables={})))


GPU_LOCKS = """
def locks(process):
    return [name for file in Path(f"/proc/{process}/fd").iterdir() if "ledger" in (name := str(file.resolve()))]

def parent_of(process):
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
"""


def test_a_program_alone_keeps_the_locks_of_its_gpus(place, monkeypatch):
    """Its starter keeps them, too, until it has ended."""
    keeper = '"locks": locks("self"), "keeper\'s": locks(os.getppid()), "parent\'s": locks(parent_of(os.getppid()))'
    write(place, GPU_LOCKS, keeper)
    launcher, found = Launcher(slots=1, threads=1), {}
    launcher.ledger = Ledger([Gpu("7", "GPU-7")], place / "ledger")
    for warm_ in ("1", "0"):
        monkeypatch.setenv("FUSE_WARM", warm_)
        settings.cache_clear()
        found[warm_] = launcher.run("room.seen", {}, place / f"out-{warm_}", request=Request(1, "w"))
        assert found[warm_]["variables"]["CUDA_VISIBLE_DEVICES"] == "7"
    assert found["1"]["locks"] == found["0"]["locks"] != []
    assert found["1"]["keeper's"] == found["1"]["parent's"] == []
    settings.cache_clear()


@pytest.mark.parametrize("closed", [True, False])
def test_a_program_that_may_see_no_secret_has_no_warm_parent(place, closed):
    """A fork shows its parent's variables in /proc, whatever its own are."""
    with pytest.raises(ProgramFailed, match="KeyError"):  # its job is empty
        Launcher(slots=1, threads=1).run(
            "tasks.checks.check", {}, place / "out", environment=Environment(closed=closed)
        )
    assert (not warm.CURRENT) is closed


def test_a_killed_parent_is_replaced(place):
    write(place)
    assert is_warm(ran(place, 1))
    first = warm.CURRENT[0].process
    first.kill()
    first.wait()
    assert is_warm(ran(place, 2)) and warm.CURRENT[0].process.pid != first.pid


def test_a_program_whose_keeper_is_killed_counts_as_killed_and_is_ended(place):
    write(place, "import time", '"slept": time.sleep(3600)')
    launcher, seen = Launcher(slots=1, threads=1), []

    def kill_keeper():
        for child in psutil.Process(warm.CURRENT[0].process.pid).children():
            seen.extend(child.children())
            if seen and (place / "out" / "job.json").exists():
                child.kill()

    with pytest.raises(ProgramFailed, match="killed by signal 9"):
        launcher.run("room.seen", {}, place / "out", kill_keeper)
    wait_until(lambda: not any(alive(process) for process in seen))


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_parent_ends_with_its_starter_also_in_a_fork(place):
    write(place)
    code = (
        "import os, sys, time; from pathlib import Path; from infra import warm; from infra.launch import Launcher\n"
        "run = lambda name: Launcher(1, 1).run('room.seen', {}, Path(name))\n"
        "run('one'); mine = warm.CURRENT[0].process.pid\n"
        "if not os.fork():\n"
        "    assert not warm.CURRENT; run('two'); print(mine, warm.CURRENT[0].process.pid, flush=True)\n"
        "time.sleep(3600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    parents = [psutil.Process(int(word)) for word in starter.stdout.readline().split()]
    assert len({process.pid for process in parents}) == 2 and all(map(alive, parents))
    starter.kill()
    wait_until(lambda: not alive(parents[0]))
    assert alive(parents[1])
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    wait_until(lambda: not alive(parents[1]))


def test_its_processor_time_counts_as_ours_once_it_has_ended(place):
    write(place, "import time", '"spent": [None for _ in iter(lambda: time.process_time() < 1, False)] and 1')
    before = os.times()
    ran(place)
    process = warm.CURRENT[0].process
    warm.forget()
    process.wait()
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system > 1


def test_its_command_line_names_the_program(place):
    write(place, "import time", '"line": Path("/proc/self/cmdline").read_bytes().decode().rstrip("\\0").split("\\0")')
    seen = ran(place)
    assert is_warm(seen) and seen["line"][1:] == ["-m", "room.seen", *seen["argv"][1:]]
    json.dumps(seen)


def test_a_run_that_ends_while_libraries_load_does_not_wait_for_them(place):
    write(place, "import time; Path('loading').touch(); time.sleep(3600)")
    launcher = Launcher(slots=1, threads=1)
    with ThreadPoolExecutor() as threads:
        begun = threads.submit(launcher.run, "room.seen", {}, place / "out")
        wait_until((place / "loading").exists)
        loading = psutil.Process(warm.CURRENT[0].process.pid)
        launcher.leave()
        with pytest.raises(ProgramFailed, match=r"room\.seen was not started: the run is shutting down"):
            begun.result(STILL)
    loading.kill()


def test_two_programs_do_not_draw_the_same_numbers(place):
    write(place, "import random, numpy.random", '"drawn": [random.random(), numpy.random.rand()]')
    first, second = ran(place, 1), ran(place, 2)
    assert is_warm(first) and is_warm(second) and not set(first["drawn"]) & set(second["drawn"])
