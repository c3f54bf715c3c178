"""Guesses the language of a prompt from its script and its most common words: zh, en or other. Needs no model."""

import re
from typing import Literal

Language = Literal["zh", "en", "other"]

HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
KANA_AND_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7af]")  # a Chinese text contains neither
LATIN = re.compile("[A-Za-z]")
LETTER = re.compile(r"[^\W\d_]")
WORD = re.compile(r"[^\W\d_]+")

ENGLISH = frozenset(
    WORD.findall(
        "the a an and or of to in is are was be it that this for with on as by from what how why who which can you your i "
        "my me do does not if have has should would about between please"
    )
)
OTHERS = frozenset(  # small words of French, Spanish, Portuguese, German, Italian and Dutch that English does not have
    WORD.findall(
        "le la les des du et est une dans pour que qui sur avec pas vous je el los las del y es un una por con para como "
        "qué os da em não uma com der das und ist nicht ein eine mit auf wie sie ich il lo gli di che per non sono het een "
        "van niet voor zijn wat hoe"
    )
)


def detect_language(text: str) -> Language:
    """zh: at least a fifth of the letters are Han, with hardly any kana or hangul (a Han character stands for several Latin
    letters, so a fifth is most of the text). en: at least four fifths are Latin, and its common words are mostly English."""
    letters = len(LETTER.findall(text))
    if not letters:
        return "other"
    han, kana = len(HAN.findall(text)), len(KANA_AND_HANGUL.findall(text))
    if han >= letters / 5 and kana < han / 20:
        return "zh"
    if len(LATIN.findall(text)) < letters * 4 / 5:
        return "other"
    words = [word.lower() for word in WORD.findall(text)]
    foreign = sum(word in OTHERS for word in words)
    return "en" if foreign <= sum(word in ENGLISH for word in words) else "other"
