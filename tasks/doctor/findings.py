"""What the doctor says of a model: a check's name, whether it is red, and what was seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    model: str
    check: str
    red: bool
    text: str
    hint: str = ""  # how to accept it, where that is a sound choice
