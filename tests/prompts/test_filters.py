"""The filters on examples that people would agree about."""

import time

import pytest

from tasks.prompts.filters import HasGold, HasTests, InLanguage, Length, NoCode, NoMathematics, refused_by
from tasks.prompts.language import language
from tasks.prompts.topics import is_code, is_mathematics, shows_tests

PLAIN = [
    "Write a poem about the sea in the style of Emily Dickinson.",
    "What were the causes of the First World War (1914-1918)?",
    "Summarise the code of conduct of our company in two sentences.",
    "Plan a 3-day trip to Rome. We are 2 adults, open 24/7 for ideas, and it is 12/05/2024.",
    "Explain how vaccines work to a five year old.",
    "Who is the head of the computer science department?",
    "Translate 'good morning' to Spanish.",
    "My class starts at 9. Write me an excuse for being late.",
    "请写一首关于春天的诗。",
    "计算机的3个组成部分是什么?",
]
CODE = [
    "Write a Python function that reverses a list.",
    "Fix this:\n```\nx = 1\n```",
    "def add(a, b):\n    return a + b\nWhat is wrong here?",
    "How do I join two tables in SQL?",
    "Implement an algorithm that finds the shortest path.",
    "Given an array of integers, create a C++ program to sort it.",
    "Why does <div>hello</div> not centre?",
    "用Python编写一个程序来排序。",
    "请写一段代码实现快速排序算法。",
]
MATHEMATICS = [
    "Solve for x: 2x + 3 = 7.",
    "What is 12 * 7?",
    "Find the derivative of the sine.",
    r"Evaluate $\int_0^1 x^2 dx$.",
    "Calculate the area of a circle with radius 5.",
    "Tom has 5 apples and buys 7 more. How many apples does he have?",
    "What is the probability that two dice show the same number?",
    "小明有5个苹果,又买了3个,一共有多少个?",
    "求解方程 x+1=3。",
]


@pytest.mark.parametrize("text", PLAIN)
def test_everyday_prompts_are_neither_code_nor_mathematics(text):
    assert not is_code(text) and not is_mathematics(text)


@pytest.mark.parametrize("text", CODE)
def test_code_is_recognised(text):
    assert is_code(text)


@pytest.mark.parametrize("text", MATHEMATICS)
def test_mathematics_is_recognised(text):
    assert is_mathematics(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of France?", "en"),
        ("Paris population", "en"),
        ("Fix it: https://example.com/a/b", "en"),
        ("请介绍一下你自己。", "zh"),
        ("请用 Transformer 架构解释 attention 机制", "zh"),
        ("東京タワーはどこにありますか。", "other"),
        ("日本経済新聞の社説要約", "other"),
        ("서울의 인구는 얼마입니까?", "other"),
        ("Quelle est la capitale de la France et pourquoi ?", "other"),
        ("Wie hoch ist der Eiffelturm und wo steht er?", "other"),
        ("¿Cuál es la capital de España y por qué?", "other"),
        ("Какая столица Франции?", "other"),
        ("1 + 1 = ?", "other"),
        ("Translate 你好 to English, please, and explain each of the characters", "en"),
    ],
)
def test_the_language_is_told_from_script_and_small_words(text, expected):
    assert language(text) == expected


def prompt(text, gold=None, response=None):
    return {"messages": [{"role": "user", "content": text}], "gold": gold, "response": response}


def test_length_counts_characters_inclusively():
    both = Length(kind="length", minimum=2, maximum=3)
    assert [both.keeps(prompt("é" * size), "") for size in (1, 2, 3, 4)] == [False, True, True, False]


def test_a_length_that_nothing_has_is_refused():
    with pytest.raises(ValueError, match="maximum 1 is below minimum 2"):
        Length(kind="length", minimum=2, maximum=1)


def test_gold_and_tests():
    gold, shown = HasGold(kind="has-gold"), HasTests(kind="has-tests", where="prompt")
    assert gold.keeps(prompt("a", "0"), "") and not gold.keeps(prompt("a", " "), "") and not gold.keeps(prompt("a"), "")
    assert shown.keeps({}, "Add.\n\nExample 1:\n\nInput: a = 1\nOutput: 2") and not shown.keeps({}, "Input the number.")
    assert HasTests(kind="has-tests", where="response").keeps(prompt("a", response="assert f(1) == 2"), "")


def test_the_first_filter_that_refuses_gives_the_reason():
    filters = (
        InLanguage(kind="language", languages=("zh",)),
        NoCode(kind="no-code"),
        NoMathematics(kind="no-mathematics"),
    )
    assert refused_by(filters, prompt(CODE[0])) == "language"
    assert refused_by(filters[1:], prompt(CODE[0])) == "no-code"
    assert refused_by(filters, prompt(PLAIN[-2])) == refused_by((), prompt(CODE[0])) == ""


@pytest.mark.parametrize(
    "unit", ["1", "14159265", "1,", "\n", "\t\n", "$=", "=", "Input ", "select a from b ", "5多", "x=", "how 3 "]
)
def test_no_text_takes_longer_than_its_length_says(unit):
    """A pattern that tries again from every character takes minutes for a page of digits, and a selection stands still."""
    text = f"3.$ {unit * (60_000 // len(unit))}$"
    taken = lambda text: min(seconds(text) for _ in range(3))
    assert taken(text) < 20 * taken("a word. " * (len(text) // 8))


def seconds(text: str) -> float:
    start = time.process_time()
    for look in (is_code, is_mathematics, shows_tests):
        look(text)
    return time.process_time() - start
