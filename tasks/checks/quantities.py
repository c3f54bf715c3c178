r"""Numbers with or without a unit: `1,234.5`, `1.5e6`, `6.63 \times 10^{-34} \text{ J s}`, `\frac{1}{2} cm^2`, `\$5`, `5\%`."""

import re
from fractions import Fraction
from typing import NamedTuple

from tasks.checks.spelling import strip_math_signs

SPELLED = [
    ("−", "-"),
    (r"\\[dtc]?frac\s*\{\s*(-?\d+)\s*\}\s*\{\s*(\d+)\s*\}", r" \1/\2"),
    (r"\\[dtc]?frac\s*(\d)\s*(\d)", r" \1/\2"),
    (r"(?<=\d)\s*(?:\\times|\\cdot|×|·|\*|x)\s*10\s*(?:\^|\*\*)\s*\{?\s*([-+]?\d+)\s*\}?", r"e\1"),
    (r"(?<![\d.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])", lambda match: match[0].replace(",", "")),
    (r"(?<![\d.])[1-9]\d{0,2}(?: \d{3})+(?![\d./])", lambda match: match[0].replace(" ", "")),
    (r"\s*\\%|\s*\b(?:percent|percentage|pct)\b", "%"),
    (r"\^?\s*\{?\s*(?:\\circ|\\degree|°)\s*\}?", " degree "),
    (r"²|\\?\^\s*\{?2\}?", "^2"),
    (r"³|\\?\^\s*\{?3\}?", "^3"),
]
QUANTITY = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<money>USD|[€£¥])?\s*"
    r"(?P<number>-?(?:(?:\d{1,300}\s+)?\d{1,300}\s*/\s*0*[1-9]\d{0,300}|(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][-+]?\d{1,3})?))"
    r"(?P<space>\s*)(?P<unit>%|[€£¥]|[A-Za-z](?:[A-Za-z /.-]|\^-?\d)*)?"
)
ABBREVIATIONS = {
    "m": "meter", "cm": "centimeter", "mm": "millimeter", "km": "kilometer", "g": "gram", "kg": "kilogram", "mg": "milligram",
    "s": "second", "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "l": "liter", "ml": "milliliter", "ft": "foot",
    "feet": "foot", "in": "inch", "inche": "inch", "lb": "pound", "oz": "ounce", "mi": "mile", "yd": "yard", "j": "joule",
    "n": "newton", "w": "watt", "kw": "kilowatt", "v": "volt", "a": "ampere", "k": "kelvin", "c": "celsius", "f": "fahrenheit",
    "hz": "hertz", "usd": "dollar", "€": "euro", "£": "pound", "¥": "yen", "deg": "degree", "metre": "meter", "litre": "liter",
    "am": "am", "pm": "pm", "mph": "mile per hour",
}  # fmt: skip
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
NOT_A_UNIT = re.compile(r"\b(?:or|and|to|times|plus|minus|over)\b", re.IGNORECASE)
POWERS = [(r"\b(?:square|sq)\.? (\w+)", r"\1^2"), (r"\bcubic (\w+)", r"\1^3")]
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = Fraction(1, 10**6), Fraction(11, 10**6)  # 0.333333 is 1/3, 0.033333 is 1/30
DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


class Quantity(NamedTuple):
    value: Fraction
    unit: str


def read_quantity(text: str) -> Quantity | None:
    text = strip_math_signs(text)
    for pattern, plain in SPELLED:
        text = re.sub(pattern, plain, text)
    found = QUANTITY.fullmatch(text.strip())
    if not found or not is_unit(found["unit"] or "", attached=not found["space"]):
        return None
    whole, _, number = re.sub(r"\s*/\s*", "/", found["number"].lstrip("-")).rpartition(" ")
    value = Fraction(number) + Fraction(whole.strip() or 0)
    scale, _, unit = (found["unit"] or "").partition(" ")
    if scale.lower() in SCALES:
        value *= SCALES[scale.lower()]
    else:
        unit = found["unit"] or ""
    negative = (found["sign"] == "-") != found["number"].startswith("-")
    return Quantity(-value if negative else value, name_unit(f"{found['money'] or ''} {unit}"))


def compare_quantities(answer: str, right: str) -> bool | None:
    """None if one of the texts is not a quantity. If only one is, a comma in the other may be a decimal comma (`1,22`)."""
    first, second = read_quantity(answer), read_quantity(right)
    if first and second:
        return is_same_quantity(first, second)
    if first or second:
        first = first or read_quantity(DECIMAL_COMMA.sub(".", answer))
        second = second or read_quantity(DECIMAL_COMMA.sub(".", right))
        return (first is not None and second is not None and is_same_quantity(first, second)) or None
    return None


def is_unit(unit: str, attached: bool) -> bool:
    """False for letters directly after a number, which are factors (`18x`), unless they are a known unit or a longer word."""
    word = re.split(r"[ /^.]", unit)[0].lower()
    if NOT_A_UNIT.search(unit):
        return False
    if len(word) == 1 and word.isalpha() and attached:
        return False
    return not word or not word.isalpha() or word in ABBREVIATIONS or len(word) >= (4 if attached else 3)


def name_unit(unit: str) -> str:
    """The standard name of a unit: `cm²`, `sq cm` and `square centimeters` become `centimeter^2`."""
    unit = unit.lower().replace(".", " ").replace("/", " per ").replace("-", " ")
    for pattern, plain in POWERS:
        unit = re.sub(pattern, plain, unit)
    names = [name_word(word, power) for word, power in re.findall(r"([^\s^]+)(\^-?\d)?", unit)]
    return " ".join(dict.fromkeys(names))


def name_word(word: str, power: str) -> str:
    singular = word if word in ABBREVIATIONS or len(word) < 3 else word.removesuffix("s")
    return ABBREVIATIONS.get(singular, singular) + power


def is_same_quantity(answer: Quantity, right: Quantity) -> bool:
    """A unit may be missing on one side. If only one side has a percent sign, 5% equals both 5 and 0.05."""
    if is_same_value(answer.value, right.value):
        return answer.unit == right.unit or not (answer.unit and right.unit)
    if {answer.unit, right.unit} == {"", "%"}:
        percent, number = (answer, right) if answer.unit else (right, answer)
        return is_same_value(percent.value / 100, number.value)
    return False


def is_same_value(answer: Fraction, right: Fraction) -> bool:
    """Whole numbers must be equal; other numbers may be rounded, relative to their size."""
    if answer == right or answer.denominator == right.denominator == 1:
        return answer == right
    return abs(answer - right) <= min(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * abs(right))
