"""Reads recipes: a TOML file holds the values, `--set a.b=c` overrides them."""

import contextlib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.config.messages import describe_errors
from flows.config.recipe import Recipe
from infra.errors import BadInput

SHIPPED = Path(__file__).parents[1] / "recipes"
DEEPEST = 32  # sections around a field: more than any recipe has
LARGEST = 2**18  # bytes of a file; the largest that we ship has 8,000
DOTTED = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){{{DEEPEST + 1}}}")


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by path or by the name of a shipped recipe. Overrides (`a.b=c`) are applied before validation."""
    return validate_recipe(read_recipe_values(name, overrides), str(find_recipe_file(name)))


def read_recipe_values(name: str, overrides: Sequence[str] = ()) -> dict:
    """The values of the recipe's file with the overrides applied, not validated yet."""
    values = read_toml(find_recipe_file(name))
    for override in overrides:
        apply_override(values, override)
    return values


def read_toml(file: Path) -> dict:
    if (size := file.stat().st_size) > LARGEST:
        raise BadInput(f"{file}: the file is too large: {size:,} bytes, at most {LARGEST:,} are read")
    try:
        return parse_toml(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:  # bad syntax, bad UTF-8, too long numbers, too deep nesting
        raise BadInput(f"{file}: not TOML: {problem}") from problem


def parse_toml(text: str) -> dict:
    """Raises ValueError also for values that are TOML and that nothing after this could handle: sections in sections without
    end, which take Python minutes, and integers of more than 64 bits, which it refuses to print."""
    if DOTTED.search(text):
        raise ValueError(f"a key of more than {DEEPEST} parts")
    values = tomllib.loads(text)
    ahead = [(values, 0)]
    while ahead:
        value, depth = ahead.pop()
        if depth > 2 * DEEPEST:
            raise ValueError(f"more than {2 * DEEPEST} sections or lists in each other")
        if isinstance(value, int) and value.bit_length() > 63:
            raise ValueError("an integer of more than 64 bits")
        if isinstance(value, dict | list):
            ahead += [(one, depth + 1) for one in (value.values() if isinstance(value, dict) else value)]
    return values


def validate_recipe(values: dict, origin: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as problem:
        raise BadInput(f"{origin}: {describe_errors(problem, Recipe)}") from problem


def find_recipe_file(name: str) -> Path:
    for file in (Path(name), SHIPPED / f"{name}.toml"):
        with contextlib.suppress(OSError):
            if file.is_file():
                return file
    shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
    raise BadInput(f"recipe: there is no file {name!r:.80}, and no shipped recipe of that name ({shipped})")


def apply_override(values: dict, override: str) -> None:
    """Sets one field in `values`: `wrpo.alpha=0.3`, `sources.1.model.steps=50` or `sources.sorter.model.steps=50`. A value
    that is not TOML is taken as text."""
    path, equals, text = override.partition("=")
    if not equals or path.endswith(".") or not path:
        raise BadInput(f"--set {override}: write FIELD=VALUE, for example wrpo.alpha=0.3")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except RecursionError as problem:
        raise BadInput(f"--set {path}: nested too deeply") from problem
    except ValueError:
        value = text
    section, last = section_of(values, path, f"--set {override}")
    section[last] = value


def section_of(values: dict, path: str, origin: str) -> tuple[dict, str]:
    """The section that holds the field of a dotted path, and the field's name."""
    *parents, last = path.split(".")
    if len(parents) > DEEPEST:
        raise BadInput(f"{origin:.80}…: the field name has {len(parents)} sections, more than any field")
    place: Any = values
    for part in parents:
        place = step_into(place, part, origin)
    if isinstance(place, list):
        raise BadInput(f"{origin}: {path} is a list; name one of its fields")
    return place, last


def step_into(place: Any, part: str, origin: str) -> Any:
    if isinstance(place, list):
        named = [item for item in place if isinstance(item, dict) and item.get("name") == part]
        if named or part in map(str, range(len(place))):
            return named[0] if named else place[int(part)]
        raise BadInput(f"{origin}: there is no {part!r} in the list")
    found = place.setdefault(part, {})
    if not isinstance(found, dict | list):
        raise BadInput(f"{origin}: {part} is a value, not a section")
    return found
