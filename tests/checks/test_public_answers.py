r"""Cases of public graders: the tests of Math-Verify (Apache 2.0) and of the MATH data set's grader (MIT).

`public_answers.jsonl` holds them once each, also those whose test there sets options: none can be set here. Of the pairs
that they test with both outcomes (`f(x)` for `f(y)`, an interval for an inequality) the first is kept.
"""

import json
from pathlib import Path

CASES = [json.loads(line) for line in Path(__file__).with_name("public_answers.jsonl").read_text().splitlines()]
DEVIATIONS = {  # answer: why the verdict here is the other one
    "Answer $ \n 9 \n $": "a line break within $…$ changes no value",
    "Answer \\( \n 9 \n \\)": "a line break within \\(…\\) changes no value",
    r"$\begin{pmatrix}0.33\\0.2 \end{pmatrix}$": "there with two decimals as option; here 0.33 is not a third",
    "$(0.6,2.6667]$": "there with four decimals as option; here 2.6667 is not 8/3",
    "${35 cm,4}$": "the right answer joins two boxes by ++++++, which separates no values here",
    r"$1 + \frac{1}{\mathrm{e}}$": "a known fault there: 1 + 1/e is not 1 - 1/e",
    r"\boxed{4, 10, -2}": "there letters are compared; here the order of several values is free",
    r"\boxed{4, .1, 2}": "there letters are compared; here the order of several values is free",
}


def test_verdicts_of_public_graders_are_met(check_answers):
    assert len(CASES) == 273
    verdicts = check_answers([(case["gold"], case["answer"]) for case in CASES])
    differing = [case for case, verdict in zip(CASES, verdicts, strict=True) if (verdict == "passed") != case["right"]]
    assert [case for case in differing if case["answer"] not in DEVIATIONS] == []
    assert {case["answer"] for case in differing} == set(DEVIATIONS)
