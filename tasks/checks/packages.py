"""The packages that a recipe offers to programs, copied into a folder of their own: nothing else that is installed here can
be seen in the sandbox."""

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

from infra.errors import BadInput


def copy_packages(names: list[str], folder: Path) -> dict[str, str]:
    """With what they need unconditionally. Returns the version of each."""
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Distribution] = {}
    for name in names:
        collect(name, found)
    for one in found.values():
        for file in find_module_files(one):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cast(Path, one.locate_file(file)), folder / file)
    return {name: one.version for name, one in found.items()}


def collect(name: str, found: dict[str, Distribution]) -> None:
    if name in found:
        return
    try:
        found[name] = distribution(name)
    except PackageNotFoundError:
        raise BadInput(f"checks.packages: {name!r} is not installed where checks run") from None
    for line in found[name].requires or ():
        if ";" not in line:
            needed = re.match(r"[\w.-]+", line)
            assert needed is not None  # a requirement begins with a name
            collect(needed[0], found)


def find_module_files(one: Distribution) -> Iterator[str]:
    """Without its own tests and its programs."""
    for file in one.files or ():
        folders = set(file.parts[:-1])
        if ".." not in folders and not folders & {"tests", "__pycache__"} and not file.parts[0].endswith(".dist-info"):
            yield str(file)


def list_modules(folder: Path) -> list[str]:
    """The names by which they are imported."""
    names = (path.name for path in sorted(folder.iterdir()) if path.suffix == ".py" or (path / "__init__.py").exists())
    return [name.removesuffix(".py") for name in names]
