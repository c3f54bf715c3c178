"""Messages for errors in a user's file: the field as the file names it, the problem, and the value."""

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo


def field_path(place: Sequence[str | int], schema: type[BaseModel]) -> list[str]:
    """The path of a field in the file. pydantic's path also contains the kind of each union member; a file does not."""
    path, types = [], [schema]
    for part in place:
        models = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
        tagged = [model for model in models if part in tags_of(model)]
        if len(models) > 1 and tagged:
            types = tagged
            continue
        path.append(str(part))
        types = [inner for container in types for inner in types_below(container, part)]
    return path


def tags_of(model: type[BaseModel]) -> set[Any]:
    """The values of a model's Literal fields, which distinguish it from the other members of a union."""
    annotations = [field.annotation for field in model.model_fields.values()]
    return {value for annotation in annotations if get_origin(annotation) is Literal for value in get_args(annotation)}


def types_below(container: Any, part: str | int) -> Iterator[Any]:
    """The types that a field, an item or an entry of the container may have."""
    if isinstance(container, type) and issubclass(container, BaseModel):
        if field := cast("Mapping[Any, FieldInfo]", container.model_fields).get(part):
            yield from members_of(field.annotation)
    elif get_origin(container) is dict:
        yield from members_of(get_args(container)[1])
    elif get_origin(container) in (tuple, list):
        yield from members_of(get_args(container)[0])


def members_of(annotation: Any) -> Iterator[Any]:
    """The members of a union; for any other type, the type itself."""
    if get_origin(annotation) is Annotated:
        yield from members_of(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members_of(member)
    else:
        yield annotation


def describe_errors(problem: ValidationError, schema: type[BaseModel]) -> str:
    """The field, the problem and the value of each error."""
    lines = []
    for error in problem.errors():
        field = ".".join(field_path(error["loc"], schema))
        match error["type"]:
            case "extra_forbidden":
                lines.append(f"{field}: there is no such field (value {error['input']!r:.80})")
            case "missing":
                lines.append(f"{field}: is missing")
            case "secret":  # the value may contain the secret
                lines.append(f"{field}: {error['msg']}")
            case _:
                lines.append(
                    f"{field or 'recipe'}: {error['msg'].removeprefix('Value error, ')}, not {error['input']!r:.80}"
                    if field
                    else error["msg"].removeprefix("Value error, ")
                )
    return "; ".join(lines)
