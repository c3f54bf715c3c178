"""Copies the packages that a recipe allows into a separate folder. The sandbox shows only this folder, no other installed
packages."""

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

from infra.errors import BadInput


def copy_packages(names: list[str], folder: Path) -> dict[str, str]:
    """Copies packages and their unconditional requirements. Returns the version of each."""
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
        if ";" not in line:  # a condition, such as an extra or a platform
            needed = re.match(r"[\w.-]+", line)
            assert needed is not None  # a requirement always begins with a name
            collect(needed[0], found)


def find_module_files(one: Distribution) -> Iterator[str]:
    """The package's files, without its tests, metadata and command-line programs."""
    for file in one.files or ():
        folders = set(file.parts[:-1])
        if ".." not in folders and not folders & {"tests", "__pycache__"} and not file.parts[0].endswith(".dist-info"):
            yield str(file)


def list_modules(folder: Path) -> list[str]:
    """The import names of the packages in a folder."""
    names = (path.name for path in sorted(folder.iterdir()) if path.suffix == ".py" or (path / "__init__.py").exists())
    return [name.removesuffix(".py") for name in names]
