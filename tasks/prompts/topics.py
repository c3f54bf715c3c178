"""Decides with patterns, English and Chinese, whether a prompt is about code or mathematics. Needs no model.

The papers filter by topic but do not publish their method. These rules rather drop a doubtful prompt, as there are enough
others. Every pattern takes linear time: a prompt of a million digits or blank lines must not stop a selection.
"""

import re

CODE = re.compile(
    r"```"  # a fenced block
    r"|^[^\S\n]*(?:def \w+\(|class \w+[(:]|import \w+\s*$|from \w[\w.]* import |#include\b"
    r"|public (?:static|class)\b|package main\b)"
    r"|\b(?:console\.log|System\.out|printf|std::)|</(?:div|html|script|body|p|span|table)>"
    r"|\b(?:python|javascript|typescript|java|kotlin|golang|fortran|matlab|php|perl|numpy|pandas|django|reactjs|node\.?js"
    r"|html5?|css|sql|mysql|postgres\w*|regex|regexp|bash|powershell|json|xml|yaml|github|dockerfile|leetcode)\b"
    r"|\bc(?:\+\+|#)|\b(?:rust|swift|ruby|scala|go|r|c) (?:code|program|script|function)\b"
    r"|\b(?:source|sample|pseudo|following|this|my|your|the|some|write|fix|debug|refactor) ?code\b(?! of (?:conduct|ethics))"
    r"|\b(?:write|implement|create|develop|debug|design)\b[^.?!\n]{0,60}\b(?:program|script|function|algorithm|api|class|method)\b"
    r"|\bselect\b[^.?!]{1,80}\bfrom\b[^.?!]{1,40}\bwhere\b|\b(?:data structure|linked list|binary tree|unit tests?|programming)\b"
    r"|代码|编程|脚本|函数|算法|程序(?:员|设计)|(?:编写|写)一?个?[^。?!]{0,12}程序|数据库",
    re.IGNORECASE | re.MULTILINE,
)

NUMBER = r"(?<!\d)(?<!\d[.,])\d++(?:[.,]\d++)*+"  # a whole number, never a part of one
MATHEMATICS = re.compile(
    r"\\(?:frac|sqrt|sum|int|begin|cdot|times|left|pi|theta|boxed)\b|\\\(|\\\[|\$[^$\n\\^_=]*[\\^_=][^$\n]*\$"  # LaTeX
    rf"|{NUMBER}\s*[+*×÷^]\s*{NUMBER}|{NUMBER}\s*[-/+*×÷]\s*{NUMBER}\s*="  # 3 * 4; a date or 24/7 has no = behind it
    rf"|\b[a-z]\s*\^\s*\d|\b\d*[a-z]\s*[-+]\s*{NUMBER}\s*=|\b[xyzn]\s*=\s*-?{NUMBER}|\bf\([a-z]\)\s*="
    r"|\b(?:equations?|integrals?|derivatives?|polynomials?|logarithms?|trigonometr\w+|algebra\w*|geometr(?:y|ic series)"
    r"|calculus|theorems?|eigenvalues?|quadratics?|factorials?|hypotenuse|perimeter|circumference|prime numbers?"
    r"|square root|least common multiple|greatest common divisor|standard deviation|arithmetic|mathematic\w*|maths?)\b"
    rf"|\b(?:calculate|compute|evaluate|simplify|solve)\b[^.?!\n]{{0,80}}{NUMBER}"
    rf"|{NUMBER}[^?\n]{{0,200}}\bhow (?:many|much)\b|\bprobability (?:of|that)\b|\bwhat is {NUMBER} ?%? (?:of|plus|times|minus)\b"
    r"|方程|数学|几何|概率|函数值|积分|导数|平方根|求解|计算(?!机)[^。?!]{0,30}[\d一二三四五六七八九十]|(?<!\d)\d++[^。?!]{0,60}多少",
    re.IGNORECASE,
)

TESTS = re.compile(r"\bassert\b|^[^\S\n]*>>> |\bInput\b\W{0,20}:?[\s\S]{1,600}?\bOutput\b", re.MULTILINE)


def is_code(text: str) -> bool:
    return CODE.search(text) is not None


def is_mathematics(text: str) -> bool:
    return MATHEMATICS.search(text) is not None


def shows_tests(text: str) -> bool:
    """Whether a text has worked examples that can become tests: asserts, a Python session, or Input followed by Output."""
    return TESTS.search(text) is not None
