"""Lets Python import its standard library where a process may not ask for the state of a file.

Landlock hides what is in files, not that they exist, nor their sizes and times. So the system calls for these are taken away
from programs. Python's import needs them: it gets the answers that were given before.
"""

import importlib
import os
import pkgutil
import stat
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress

UNUSED = ("_test", "_xx", "xx", "_ctypes_test", "_tkinter", "_curses", "readline")  # or they look for a terminal


def prepare(readable: list[str]) -> None:
    """Imports what is no plain text, since loading a shared library asks for states; remembers those of all modules that
    lie under the `readable` paths, and what is in their folders."""
    for file in os.listdir(sysconfig.get_config_var("DESTSHARED")):
        if not file.startswith(UNUSED):
            with suppress(ImportError):
                importlib.import_module(file.partition(".")[0])
    states = {path: os.stat(path) for path in find_modules(readable)}
    for path, state in states.items():
        if stat.S_ISDIR(state.st_mode):
            importer = pkgutil.get_importer(path)
            assert importer is not None  # every folder has one
            importer.find_spec("nothing")  # it reads the folder and keeps what it has read

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
