"""Whatever stands in a recipe, in a row or in a file, the worst that comes of it is a BadInput in one line."""

import functools
import json
import operator
import os
import tomllib
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.config.loading import SHIPPED, apply
from flows.config.messages import describe
from flows.config.recipe import Recipe
from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.prompts.columns import Columns, record
from tasks.prompts.reading import read_prompts

DEMO = tomllib.loads((SHIPPED / "demo.toml").read_text())
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WORDS = ("kind", "seed", "name", "path", "model", "n", "rules", "role", "content", "from", "value")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from(WORDS) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
BYTES = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())


def places(value, path=()):
    """Every place in nested values, as a path."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inside:
        yield from places(part, (*path, name))


PLACES = [path for path in places(DEMO) if path]


@QUICK
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_recipe_with_anything_anywhere_is_read_or_refused(changes):
    values = json.loads(json.dumps(DEMO))
    for path, value in changes:
        with suppress(LookupError, TypeError):  # an earlier change took the place away
            functools.reduce(operator.getitem, path[:-1], values)[path[-1]] = value
    try:
        Recipe.model_validate(values)
    except ValidationError as problem:
        assert describe(problem, Recipe)


@QUICK
@given(st.text(max_size=60), st.text(max_size=60))
def test_an_override_of_anything_by_anything_is_applied_or_refused(path, value):
    values = json.loads(json.dumps(DEMO))
    try:
        apply(values, f"{path}={value}")
        Recipe.model_validate(values)
    except BadInput as problem:
        assert str(problem)
    except ValidationError as problem:
        assert describe(problem, Recipe)


@QUICK
@given(
    VALUES | st.fixed_dictionaries({}, optional={name: VALUES for name in ("prompt", "messages", "category", "gold")})
)
def test_a_row_of_anything_is_a_prompt_or_refused(row):
    for columns in (Columns(), Columns(messages="messages", answered="cut", response="response", turns="first")):
        try:
            found = record(row, columns)
            assert found["messages"][-1]["role"] == "user" and len(found["prompt_id"]) == 64
            json.dumps(found, allow_nan=False)
        except ValueError as problem:
            assert str(problem)


@QUICK
@given(BYTES | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_file_of_anything_is_read_or_refused(tmp_path, content):
    for name in ("x.jsonl", "x.parquet"):
        (tmp_path / name).write_bytes(content)
        try:
            list(read_prompts([tmp_path / name], Columns()))
        except BadInput as problem:
            assert name in str(problem)


@QUICK
@given(BYTES)
def test_a_manifest_of_anything_is_refused(raw):
    try:
        Manifest.parse(raw)
    except ValueError:
        return
    raise AssertionError("a manifest by chance")
