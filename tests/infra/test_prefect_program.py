"""A garbage cursor of a connection that waits for the database must not hold up the thread that the database waits for."""

import os
import subprocess
import sys

import pytest

from tests.patience import STILL

SERVER = """
import sqlite3, sys, threading, time

def garbage(connection):
    cycle = [connection.execute("SELECT 1 UNION ALL SELECT 2")]  # begun, not ended, and it holds no lock
    cycle.append(cycle)

holder = sqlite3.connect(sys.argv[1], isolation_level=None)
waiter = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False, timeout=6)
holder.execute("PRAGMA journal_mode = WAL")
holder.execute("CREATE TABLE t(x)")
garbage(waiter)
holder.execute("BEGIN IMMEDIATE")
thread = threading.Thread(target=waiter.execute, args=["BEGIN IMMEDIATE"])
thread.start()
time.sleep(0.5)
began = time.monotonic()
kept = [[] for _ in range(100_000)]
holder.execute("COMMIT")
print(time.monotonic() - began)
"""


@pytest.mark.parametrize(("program", "waits"), [("prefect", True), ("infra.prefect_program", False)])
def test_the_collector_waits_in_a_thread_of_its_own(tmp_path, program, waits):
    """As the server's threads do: one transaction is open, another connection waits for it, and holds garbage."""
    (database := tmp_path / "prefect" / "server" / "database").mkdir(parents=True)
    (tmp_path / "prefect" / "__init__.py").touch()
    (tmp_path / "prefect" / "__main__.py").write_text(SERVER)
    (database / "configurations.py").write_text("class AioSqliteConfiguration:\n    begin_transaction = None")
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    answer = subprocess.run(
        [sys.executable, "-m", program, str(tmp_path / "prefect.db")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=STILL,
    )
    assert (float(answer.stdout) > 5) is waits, answer.stderr
