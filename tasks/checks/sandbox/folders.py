"""The folders that a sandbox shows to Python programs, and those it hides."""

import os
import platform
import sys
import sysconfig
from pathlib import Path


def interpreter_path() -> str:
    return os.path.realpath(sys.executable)


def library_folders() -> list[str]:
    """The folders that the interpreter needs: its library and the system's shared libraries."""
    machine = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    shared = (
        [f"/lib/{machine}", f"/usr/lib/{machine}"] if os.path.isdir(f"/usr/lib/{machine}") else ["/lib", "/usr/lib"]
    )
    own = [sysconfig.get_path("stdlib")]
    own += [sysconfig.get_config_var("LIBDIR")] if sys.base_prefix != "/usr" else []
    found = [folder for folder in {*own, *shared, "/lib64", "/usr/lib64"} if os.path.isdir(folder)]
    return sorted(one for one in found if not any(one.startswith(f"{other}/") for other in found))


def package_folders() -> list[str]:
    """Folders of installed packages in the library folders. They are hidden: a benchmark with its answers may be there."""
    places = (
        place
        for folder in library_folders()
        for each in ("", "python*/")
        for place in Path(folder).glob(f"{each}*-packages")
    )
    return sorted({str(place) for place in places})


def paths_without(path: str, hidden: set[str]) -> list[str]:
    """The path itself, or the visible paths in it if a part of it is hidden."""
    if not any(Path(place).is_relative_to(path) for place in hidden):
        return [path]
    inside = [f"{path}/{name}" for name in os.listdir(path)]
    return [kept for one in inside if one not in hidden and os.path.exists(one) for kept in paths_without(one, hidden)]
