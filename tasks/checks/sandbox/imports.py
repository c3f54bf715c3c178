"""Lets Python import its standard library in a process that may not call `stat`.

Landlock hides the contents of files, but not their existence, sizes and times. So seccomp forbids the system calls that report
these. Python's import needs them, so it gets results that were stored before.
"""

import importlib
import os
import pkgutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress

UNUSED = ("_test", "_xx", "xx", "_ctypes_test", "_tkinter", "_curses", "readline")  # tests, or they need a terminal


def prepare(readable: list[str]) -> None:
    """Imports all compiled modules, since loading a shared library needs `stat`. Stores the `stat` results of all modules under
    the `readable` paths, and the lists of their folders."""
    for file in os.listdir(sysconfig.get_config_var("DESTSHARED")):
        if not file.startswith(UNUSED):
            with suppress(ImportError):
                importlib.import_module(file.partition(".")[0])
    states = {path: os.stat(path) for path in find_modules(readable)}
    for path, state in states.items():
        if stat.S_ISDIR(state.st_mode):
            importer = pkgutil.get_importer(path)
            assert importer is not None  # every folder has one
            importer.find_spec("nothing")  # makes the finder read the folder and cache the list

    def find_state(path: str) -> os.stat_result:
        if path not in states:
            raise FileNotFoundError(path)
        return states[path]

    importlib._bootstrap_external._path_stat = find_state  # pyright: ignore[reportAttributeAccessIssue]


def find_modules(readable: list[str]) -> Iterator[str]:
    library = sysconfig.get_path("stdlib")
    yield library
    for path in (one for one in readable if one.startswith(library) or one in sys.path):
        yield path
        for folder, below, files in os.walk(path):
            below[:] = [name for name in below if name not in ("test", "__pycache__")]  # "test": Python's own tests
            yield from (folder, *(f"{folder}/{file}" for file in files))
