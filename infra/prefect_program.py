"""Prefect's command line for its server: `python -m infra.prefect_program server start …`, with Python's garbage collector
in a thread of its own.

SQLite cursors end in reference cycles. A cursor that is collected in the event loop's thread waits for its connection; that
connection's thread may wait for the database, which a transaction holds that can only go on in the event loop: for a
minute nobody gets an answer, until SQLite gives up. A thread beside the loop may wait.
"""

import gc
import runpy
import threading
import time

FULL = 60  # every so many seconds old objects are looked at as well, which holds everything up for some tenths


def collect() -> None:
    turn = 0
    while True:
        time.sleep(1)
        turn += 1
        gc.collect(1 if turn % FULL else 2)


def begin_writing() -> None:
    """Every transaction of the server takes SQLite's write lock at its beginning, where it waits for its turn. Prefect takes
    the lock at the first write: if another has written since the transaction began to read, SQLite refuses at once, however
    long the time-out, and a user reads 503 or finds a run that nobody follows."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    deferred = AioSqliteConfiguration.begin_transaction

    def begin_transaction(self, session, with_for_update=False):
        return deferred(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction


if __name__ == "__main__":
    gc.disable()
    begin_writing()
    threading.Thread(target=collect, name="garbage collector", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
