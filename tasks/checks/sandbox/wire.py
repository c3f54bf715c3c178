"""Encodes plain Python values as JSON: a response's process and its tests exchange only values.

Instances of shared classes are sent as their attributes. Any other object is sent as a number that refers to it.
"""

import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

SMALL = 1 << 53
MOST = 100_000  # values read from one iterator
DEEPEST = 100
LONGEST = 4 << 20  # bytes of one line
FACTORIES = {kind.__name__: kind for kind in (int, float, str, bool, list, tuple, dict, set)}
ARRAYS = "biufcSU"  # kinds of numpy's arrays that hold plain values

Keep = Callable[[Any, int], dict]  # (object, nesting depth) -> its JSON form
Find = Callable[[str, Any], Any]  # (kind, content) of that JSON form -> the object


def encode_value(value: Any, keep: Keep, depth: int = 0) -> Any:
    """Encodes a value; an instance of a subclass is encoded as its plain type."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    inner = lambda items: [encode_value(item, keep, depth + 1) for item in items]
    match value:
        case None | bool():
            return value
        case float():
            return float.__float__(value)
        case int():
            return int.__index__(value) if -SMALL < value < SMALL else {"int": hex(value)}
        case str():
            return str.__str__(value)  # not str(value): for an Enum of texts that is the member's name
        case bytes() | bytearray():
            return {type(value).__name__ if type(value) is bytearray else "bytes": value.decode("latin-1")}
        case complex():
            return {"complex": [value.real, value.imag]}
        case list():
            return inner(value)
        case tuple():
            fields = getattr(type(value), "_fields", None)
            return {"named": [type(value).__name__, list(fields), inner(value)]} if fields else {"tuple": inner(value)}
        case set():
            return {"set": inner(value)}
        case frozenset():
            return {"frozenset": inner(value)}
        case dict():
            return encode_mapping(value, inner)
        case range():
            return {"range": inner([value.start, value.stop, value.step])}
        case deque():
            return {"deque": [inner(value), value.maxlen]}
        case KeysView() | ValuesView() | ItemsView():
            return inner(value)
        case Decimal():
            return {"decimal": str(value)}
        case Fraction():
            return {"fraction": inner([value.numerator, value.denominator])}
        case datetime() | date() | time():
            return {
                next(kind.__name__ for kind in (datetime, date, time) if isinstance(value, kind)): value.isoformat()
            }
        case timedelta():
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        case Iterator():
            found = list(islice(value, MOST + 1))
            if len(found) > MOST:
                raise ValueError(f"an iterator over more than {MOST:,} values")
            return {"iterator": inner(found)}
    if isinstance(value, type) and FACTORIES.get(value.__name__) is value:
        return {"type": value.__name__}
    return encode_array(value) or keep(value, depth)


def encode_mapping(value: dict, inner: Callable) -> dict:
    pairs = [inner(pair) for pair in value.items()]
    match value:
        case Counter():
            return {"counter": pairs}
        case OrderedDict():
            return {"ordered": pairs}
        case defaultdict() if (factory := value.default_factory) is not None and factory in FACTORIES.values():
            return {"default": [factory.__name__, pairs]}
    return {"dict": pairs}


def encode_array(value: Any) -> dict | None:
    """Encodes a numpy array or scalar; None for other values, or if numpy is not loaded."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray | numpy.generic) or value.dtype.kind not in ARRAYS:
        return None
    content = numpy.asarray(value).tobytes().decode("latin-1")
    return {"array": [value.dtype.str, None if isinstance(value, numpy.generic) else list(value.shape), content]}


def decode_value(value: Any, find: Find) -> Any:
    """Decodes the output of `encode_value`. For other input it raises ValueError, TypeError, KeyError, RecursionError or
    ArithmeticError."""
    inner = lambda items: [decode_value(item, find) for item in items]
    pairs = lambda items: {decode_value(key, find): decode_value(item, find) for key, item in items}
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
        case "bytearray":
            return bytearray(content.encode("latin-1"))
        case "complex":
            return complex(*content)
        case "tuple":
            return tuple(inner(content))
        case "named":
            return namedtuple(content[0], content[1], rename=True)(*inner(content[2]))
        case "set":
            return set(inner(content))
        case "frozenset":
            return frozenset(inner(content))
        case "dict":
            return pairs(content)
        case "counter":
            return Counter(pairs(content))
        case "ordered":
            return OrderedDict(pairs(content))
        case "default":
            return defaultdict(FACTORIES[content[0]], pairs(content[1]))
        case "range":
            return range(*inner(content))
        case "deque":
            return deque(inner(content[0]), content[1])
        case "decimal":
            return Decimal(str(content))
        case "fraction":
            return Fraction(*inner(content))
        case "date" | "datetime" | "time":
            return {"date": date, "datetime": datetime, "time": time}[kind].fromisoformat(content)
        case "timedelta":
            return timedelta(*content)
        case "iterator":
            return iter(inner(content))
        case "type":
            return FACTORIES[content]
        case "array":
            return decode_array(*content)
    return find(kind, content)


def decode_array(form: str, shape: list[int] | None, content: str) -> Any:
    import numpy  # both processes import the same packages, so numpy is there

    kind = numpy.dtype(str(form))
    if kind.kind not in ARRAYS:
        raise ValueError(f"no array of plain values: {form!r:.80}")
    found = numpy.frombuffer(content.encode("latin-1"), kind)
    return found[0] if shape is None else found.reshape(shape).copy()
