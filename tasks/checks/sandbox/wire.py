"""Plain Python values as JSON, so that nothing but values crosses between a candidate and its tests.

What is no plain value (an object of the candidate's own) crosses as a number that stands for it.
"""

from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

SMALL = 1 << 53
MOST = 100_000  # values of an iterator
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
            return float.__float__(value)
        case int():
            return int.__index__(value) if -SMALL < value < SMALL else {"int": hex(value)}
        case str():
            return str.__str__(value)  # of a subclass too: an Enum of texts would say its name
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
        case range():
            return {"range": inner([value.start, value.stop, value.step])}
        case deque() | KeysView() | ValuesView() | ItemsView():
            return inner(value)
        case Decimal():
            return {"decimal": str(value)}
        case Fraction():
            return {"fraction": inner([value.numerator, value.denominator])}
        case Iterator():
            found = list(islice(value, MOST + 1))
            if len(found) > MOST:
                raise ValueError(f"an iterator over more than {MOST:,} values")
            return {"iterator": inner(found)}
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
        case "range":
            return range(*inner(content))
        case "decimal":
            return Decimal(str(content))
        case "fraction":
            return Fraction(*inner(content))
        case "iterator":
            return iter(inner(content))
        case "object":
            return find(content)
    raise ValueError(f"no such kind of value: {kind!r:.80}")
