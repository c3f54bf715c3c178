"""Reads a statement that gives an answer, such as "18 eggs, because 2 * 9 = 18", and lists the values it may mean."""

import re

from tasks.checks.quantities import read_quantity

LONGEST = 1000  # characters of a statement; the rest is not read
MATH = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$(?!\d)|\$[^$]*\\begin[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
NUMBER = re.compile(r"(?:\\?[$€£]\s?)?[-−]?(?<![\w.])\d(?:[\d,]*\d)?(?:\.\d+)?(?:\s?\\?%)?(?![\w^])")
END = re.compile(r"[.。?](?=\s|$)|\n")
SUBJECT = re.compile(  # "The largest $n$ is", but not "2 when n is"
    r"(?!\W*\d)(?=.*[A-Za-z])(?:(?!\s(?:is|are|equals|when|if|because|since|where)\b).){1,100}\s(?:is|are|equals)[\s:]+",
    re.IGNORECASE,
)
AFTERTHOUGHT = re.compile(
    r"[,;]\s|\s\(|\s[-–—]\s(?=[a-z])|\s(?:because|since|which|as|when|if|so|where)\b|(?<=[A-Za-z])\s(?:in|for|after|with)\s"
)
REASON = re.compile(r",?\s(?:because|since|which|as|so|the)\b")
LIMIT = re.compile(  # words that change the meaning of a number beside them: "not 5", "at least 5"
    r"n't\b|\b(?:not|no|less|more|fewer|greater|least|most|about|around|approximately|between|or|over|under|than|up)\b",
    re.IGNORECASE,
)


def read_statement(text: str) -> str:
    """The first sentence or line. A formula at its start may contain line ends and dots."""
    text = text.lstrip(" \t\r\n*_:#")[:LONGEST]
    math = MATH.match(text)
    end = END.search(text, math.end() if math else 0)
    return text[: end.start() if end else None].replace("**", "").strip(" \t*_")


def read_values(statement: str) -> list[str]:
    """Possible values: the statement; the statement without its subject or afterthought; the only value in it."""
    values = [statement]
    if subject := SUBJECT.match(statement):
        values.append(statement[subject.end() :])
    values += [value for whole in values for value in cut_afterthought(whole)]
    if not any(map(read_quantity, values)) and not LIMIT.search(statement):
        found = MATH.findall(statement) or NUMBER.findall(statement)
        values += found if len(found) == 1 else []
    return list(dict.fromkeys(values))


def cut_afterthought(statement: str) -> list[str]:
    """`18, so she sold 3` becomes `18`. `3, -3` is a list and is not cut."""
    cut = AFTERTHOUGHT.search(statement)
    if not cut:
        return []
    before, behind = statement[: cut.start()].strip(), statement[cut.start() :]
    if re.fullmatch(r"[A-Za-z]+", before):
        return [before] if REASON.match(behind) else []
    is_whole = read_quantity(before) or MATH.fullmatch(before)
    return [before] if is_whole and re.match(r"[,;]?\s*[(–—-]?\s*[A-Za-z]", behind) else []
