"""Runs Prefect's server command (`python -m infra.prefect_program server start …`) with Python's garbage collector in a
separate thread.

SQLite cursors end in reference cycles. A cursor that is collected in the event loop's thread waits for its connection's
thread. That thread may wait for a database lock, and the transaction that holds the lock can continue only in the event
loop. The server would then not answer for a minute, until SQLite gives up. A separate thread may wait without harm.
"""

import gc
import runpy
import threading
import time

FULL = 60  # seconds between two full collections, each of which stops the server for some tenths of a second


def collect_cycles() -> None:
    turn = 0
    while True:
        time.sleep(1)
        turn += 1
        gc.collect(1 if turn % FULL else 2)


def begin_writing() -> None:
    """Makes every transaction of the server take SQLite's write lock at its beginning, and wait for it there. Prefect takes
    the lock at the first write. If another transaction has written since this one began to read, SQLite then refuses at
    once, whatever the time-out is: a user gets a 503, or a run is never followed up."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    deferred = AioSqliteConfiguration.begin_transaction

    def begin_transaction(self, session, with_for_update=False):
        return deferred(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction


if __name__ == "__main__":
    gc.disable()
    begin_writing()
    threading.Thread(target=collect_cycles, name="garbage collector", daemon=True).start()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
