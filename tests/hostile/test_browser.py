"""The report, a matrix's page and an examination's in a real browser: what a model said is shown and not run."""

import html
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tasks.report import matrix, page, suites
from tasks.report.document import POLICY
from tests.patience import STILL
from tests.report.test_page import numbers

MARK = "the-page-was-taken-over"
ATTACKS = (
    f"<script>document.title='{MARK}'</script>",
    f"<img src=x onerror=\"document.title='{MARK}'\">",
    f"</style></title></textarea></script><script>document.title='{MARK}'</script>",
    f'"><svg onload="document.title=\'{MARK}\'">',
    f"'><body onload=\"document.title='{MARK}'\">",
    f"<iframe srcdoc=\"<script>parent.document.title='{MARK}'</script>\"></iframe>",
    f"</td></tr></table></section><a href=\"javascript:void(document.title='{MARK}')\" id=x autofocus onfocus=click()>x</a>",
    f"[x](javascript:document.title='{MARK}') {{{{document.title}}}} &lt;script&gt; \u202e\u2066",
)
ELEMENTS = """html head meta title style body header nav main section h1 h2 h3 h4 p b i strong small span div a ol ul li table
thead tbody tfoot tr th td dl dt dd pre figure figcaption svg g path line rect circle text polyline polygon desc tspan"""
OURS = set(ELEMENTS.split())
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def opened(text: str, folder) -> str:
    """The document as it stands after the browser has loaded and run it."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    words = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}/profile",
        "--virtual-time-budget=500",
    ]
    answer = subprocess.run(
        [BROWSER, *words, "--dump-dom", f"file://{folder}/page.html"], capture_output=True, text=True, timeout=STILL
    )
    assert "</html>" in answer.stdout, answer.stderr
    return answer.stdout


def said_by_models(value, text: str):
    """Every text that a user or a model may have written, replaced."""
    match value:
        case dict():
            return {key: one if key in FIXED else said_by_models(one, text) for key, one in value.items()}
        case list():
            return [said_by_models(one, text) for one in value]
        case str():
            return text
    return value


ESTIMATE = {"model": "", "column": "", "metric": "LC", "value": 1.0, "low": 0.5, "high": 1.5, "full_marks": 100}
SUITE = {
    "name": "",
    "state": "done",
    "judge": "",
    "results": [ESTIMATE],
    "left_out": ["", ""],
    "differences": [ESTIMATE | {"from": "", "to": "", "reading": "", "holm": 0.01, "p": 0.01}],
    "counts": {},
    "calibration": None,
    "examples": [{"prompt": "", "answers": [{"model": "", "text": "", "verdicts": ["", 0.5, None]}]}],
}
CHANGE = {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.01, "holm": 0.01, "reading": "higher", "prompts": 2}
CELL = {"estimate": ESTIMATE, "difference": CHANGE, "known": 3}
ROW = {"variant": "", "hypothesis": "", "expects": "unknown", "changes": [""], "state": "done", "report": ""}
ROW |= {
    "metrics": {"accuracy": CELL, "win_rate": None, "suite": CELL, "other": CELL | {"difference": None, "alone": ""}},
    "states": {"suite": "done", "other": "done"},
    "swept": {"axis": "", "sweep": "", "at": 0.1},
    "reward_accuracy": 0.5,
    "no_accuracy": "",
}
COLUMNS = [{"key": name, "title": "", "measure": "", "scale": "share"} for name in ("accuracy", "win_rate")]
COLUMNS += [{"key": name, "title": "", "measure": "", "scale": "points"} for name in ("suite", "other")]
FIXED = (
    "key",
    "metric",
    "role",
    "scale",
    "state",
    "states",
    "expects",
    "reading",
)  # words of ours, which choose what is shown


def pages(text: str) -> dict[str, str]:
    """Every page with everything that a user or a model may have written in it replaced."""
    judged = said_by_models(SUITE, text) | {"counts": {text: {"questions": 3}}}
    examined = {"name": text, "models": [text, text], "suites": [judged, judged | {"state": text}]}
    examined |= {"averages": {text: 3.0}, "gate": {"passed": False, "against": [text]}}
    variants = {"name": text, "base": text, "confidence": 0.95}
    variants["columns"] = said_by_models(COLUMNS, text)
    variants["rows"] = [said_by_models(row, text) for row in (ROW, ROW, ROW | {"state": "failed: x"})]
    variants["rows"].append(said_by_models(ROW, text) | {"states": {"suite": text, "other": text}})
    report = said_by_models(numbers(), text) | {"suites": [judged]} | {"versions": {text: text}}
    return {"report": page.render(report), "examination": suites.render(examined), "matrix": matrix.render(variants)}


class Elements(HTMLParser):
    """What a document is made of."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes


@pytest.mark.skipif(BROWSER is None, reason="no chromium here (apt-get install chromium)")
def test_the_attacks_take_a_page_that_does_not_escape(tmp_path):
    taken = opened(f"<!doctype html><title>x</title>{''.join(ATTACKS)}", tmp_path)
    assert f"<title>{MARK}</title>" in taken, "the attacks do nothing, so nothing would be proved"


@pytest.mark.skipif(BROWSER is None, reason="no chromium here (apt-get install chromium)")
@pytest.mark.parametrize("name", ["report", "examination", "matrix"])
def test_what_a_model_said_is_shown_and_not_run(name, tmp_path):
    """Without the page's policy, which would forbid scripts even where one got through."""
    text = pages(" ".join(ATTACKS))[name]
    shown = opened(text.replace(POLICY, "default-src *"), tmp_path)
    assert shown.split("<title>")[1].split("</title>")[0] != MARK
    found = Elements(shown)
    assert found.tags <= OURS, found.tags - OURS
    assert not [word for word, _ in found.attributes if word.startswith("on")]
    assert all(value.startswith("#") for word, value in found.attributes if word in ("href", "src", "srcdoc"))
    assert html.escape(ATTACKS[0], quote=False) in shown and POLICY in text
