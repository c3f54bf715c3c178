"""Services: known by their mark, started again when they die, ended with all that they started."""

import os
import signal
import sys
import time

import pytest

from infra.services import Service, Services, end_processes, find_marked
from tests.patience import STILL, wait_until

PARENT = (
    "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'], start_new_session=True); time.sleep(3600)"
)


@pytest.fixture
def services(tmp_path):
    services = Services(tmp_path)
    yield services
    end_processes(find_marked(tmp_path))


def service(name: str, code: str) -> Service:
    return Service(name, (sys.executable, "-c", code), {"PATH": os.environ["PATH"]})


def test_a_services_processes_are_found_and_end_with_it(services, tmp_path):
    services.start(service("one", PARENT))
    services.start(service("two", "import time; time.sleep(3600)"))
    wait_until(lambda: len(find_marked(tmp_path)) == 3)
    assert len(find_marked(tmp_path, "one")) == 2 and len(find_marked(tmp_path, "two")) == 1
    services.stop()
    assert find_marked(tmp_path) == []


def test_a_killed_service_starts_again_and_its_orphans_end(services, tmp_path):
    services.start(service("one", PARENT))
    wait_until(lambda: len(find_marked(tmp_path)) == 2)
    before = {process.pid for process in find_marked(tmp_path)}
    os.kill(services.running["one"][1].pid, signal.SIGKILL)

    def revived() -> bool:
        services.revive()
        now = {process.pid for process in find_marked(tmp_path)}
        return len(now) == 2 and not now & before

    wait_until(revived)
    services.stop()


def test_what_dies_at_once_is_not_started_again_at_once(services, tmp_path):
    services.start(service("one", "raise SystemExit(1)"))
    for _ in range(40):
        services.revive()
        time.sleep(0.05)
    assert services.deaths["one"] <= 3


def test_a_service_that_does_not_start_is_shown_with_the_end_of_its_log(services):
    services.start(service("one", "raise SystemExit('the port is taken')"))
    with pytest.raises(RuntimeError, match=r"(?s)one did not start.*the port is taken"):
        services.wait_until(lambda: False, "one", STILL)


def test_a_long_log_is_begun_anew_while_its_service_writes(services, tmp_path, monkeypatch):
    monkeypatch.setattr("infra.services.LOG_BYTES", 1000)
    services.start(service("talker", "import time\nwhile True: print('word', flush=True); time.sleep(0.01)"))
    log = services.log("talker")
    wait_until(lambda: log.stat().st_size > 1000)
    services.shorten_logs()
    assert log.stat().st_size < 1000 < log.with_suffix(".log.before").stat().st_size
    wait_until(lambda: log.stat().st_size > 100)
    assert set(log.read_text().split()) == {"word"}
    services.stop()
