"""Right answers as in GSM8K, and the sentences in which models give them."""

import random

PHRASINGS = {  # {gold} stands as in text, {math} as inside of $…$
    "hashes": "She sells 9 of them, and 4 * 3 = 12.\n#### {gold}",
    "box": "She sells 9 of them, so 4 * 3 = 12 are left. Thus $\\boxed{{{math}}}$.",
    "the answer is": "There are 7 days in a week. The answer is {gold}.",
    "bold final answer": "1. She buys 3.\n2. She sells 2.\n\nTherefore, the final answer is: **{gold}**.",
    "Minerva": "We have 3 + 4 = 7.\nFinal Answer: The final answer is ${math}$. I hope it is correct.",
    "answer, twice": "We have 3 + 4 = 7.\nAnswer: The answer is {gold}.",
    "answer with a colon": "We have 3 + 4 = 7, and 7 > 5.\n\n**Answer:** {gold}",
    "heading": "We have 3 + 4 = 7, and 7 > 5.\n\n### Final Answer\n\nThe correct answer is \\({math}\\).",
}


def make_golds() -> list[str]:
    """200 golds with distinct values: whole numbers, thousands, decimals, money, negative numbers, percents."""
    draw = random.Random(7)
    forms = [
        *["{:d}"] * 90, *["{:,d}"] * 40, *["{:.2f}"] * 20, *["${:,.2f}"] * 20, *["-{:d}"] * 15, *["{:d}%"] * 15,
    ]  # fmt: skip
    golds, values = [], set()
    for form in forms:
        while True:
            whole = draw.randint(1001, 9_999_999) if ":,d" in form else draw.randint(2, 999)
            number = whole if "d}" in form else whole + draw.randint(1, 99) / 100
            if f"{number:g}" not in values:
                break
        values.add(f"{number:g}")
        golds.append(form.format(number))
    return golds


def spell_as_math(gold: str) -> str:
    return gold.replace("$", "\\$").replace("%", "\\%").replace(",", "{,}")
