"""Plain Python values as JSON, so that nothing but values crosses between a candidate and its tests.

What is no plain value (an object of the candidate's own) crosses as a number that stands for it.
"""

from collections.abc import Callable
from typing import Any

SMALL = 1 << 53
LONGEST = 4 << 20  # bytes of one line


def encode(value: Any, keep: Callable[[Any], int], depth: int = 0) -> Any:
    """Of a subclass what it has of the plain type; `keep` gives the number of anything else."""
    if depth > 100:
        raise ValueError("nested more than 100 deep")
    inner = lambda items: [encode(item, keep, depth + 1) for item in items]
    match value:
        case None | bool():
            return value
        case float():
            return float(value)
        case int():
            return int(value) if -SMALL < value < SMALL else {"int": hex(value)}
        case str():
            return str(value)
        case bytes():
            return {"bytes": value.decode("latin-1")}
        case complex():
            return {"complex": [value.real, value.imag]}
        case list():
            return inner(value)
        case tuple():
            return {"tuple": inner(value)}
        case set():
            return {"set": inner(value)}
        case frozenset():
            return {"frozenset": inner(value)}
        case dict():
            return {"dict": [inner(pair) for pair in value.items()]}
    return {"object": keep(value)}


def decode(value: Any, find: Callable[[int], Any]) -> Any:
    """Raises for whatever `encode` does not make: ValueError, TypeError, KeyError, RecursionError."""
    inner = lambda items: [decode(item, find) for item in items]
    if isinstance(value, list):
        return inner(value)
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "int":
            return int(content, 16)
        case "bytes":
            return content.encode("latin-1")
        case "complex":
            return complex(*content)
        case "tuple":
            return tuple(inner(content))
        case "set":
            return set(inner(content))
        case "frozenset":
            return frozenset(inner(content))
        case "dict":
            return {decode(key, find): decode(item, find) for key, item in content}
        case "object":
            return find(content)
    raise ValueError(f"no such kind of value: {kind!r:.80}")
