"""A finding of the doctor about a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    model: str
    check: str
    red: bool
    text: str
    hint: str = ""  # how to accept it, if accepting can be right
