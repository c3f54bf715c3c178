"""Errors of a user's file in the user's words: the field as the file names it, what is wrong with it, and the value."""

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError


def field_path(place: Sequence[str | int], schema: type[BaseModel]) -> list[str]:
    """The path as the file has it. pydantic's path also holds the kind of each union's variant, which no file nests."""
    path, types = [], [schema]
    for part in place:
        models = [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]
        tagged = [model for model in models if part in tags_of(model)]
        if len(models) > 1 and tagged:
            types = tagged
            continue
        path.append(str(part))
        types = [inner for one in types for inner in types_below(one, part)]
    return path


def tags_of(model: type[BaseModel]) -> set[Any]:
    """Values that tell a variant of a union from the others."""
    annotations = [field.annotation for field in model.model_fields.values()]
    return {value for one in annotations if get_origin(one) is Literal for value in get_args(one)}


def types_below(container: Any, part: str | int) -> Iterator[Any]:
    """The types that a field, an item or an entry of the container may have."""
    if isinstance(container, type) and issubclass(container, BaseModel):
        if field := container.model_fields.get(part):
            yield from members_of(field.annotation)
    elif get_origin(container) is dict:
        yield from members_of(get_args(container)[1])
    elif get_origin(container) in (tuple, list):
        yield from members_of(get_args(container)[0])


def members_of(annotation: Any) -> Iterator[Any]:
    """A union's members; any other type alone."""
    if get_origin(annotation) is Annotated:
        yield from members_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members_of(member)
    else:
        yield annotation


def describe(problem: ValidationError, schema: type[BaseModel]) -> str:
    """One line per error: the field, what is wrong, and the value."""
    lines = []
    for error in problem.errors():
        field = ".".join(field_path(error["loc"], schema))
        match error["type"]:
            case "extra_forbidden":
                lines.append(f"{field}: there is no such field (value {error['input']!r:.80})")
            case "missing":
                lines.append(f"{field}: is missing")
            case "secret":  # may stand in the value
                lines.append(f"{field}: {error['msg']}")
            case _:
                lines.append(
                    f"{field or 'recipe'}: {error['msg'].removeprefix('Value error, ')}, not {error['input']!r:.80}"
                    if field
                    else error["msg"].removeprefix("Value error, ")
                )
    return "; ".join(lines)
