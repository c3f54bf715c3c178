"""The report in a real browser: what a model said is shown and not run."""

import html
import shutil
import subprocess

import pytest

from tasks.report import page
from tests.report.test_page import numbers

MARK = "the-page-was-taken-over"
ATTACKS = (
    f"<script>document.title='{MARK}'</script>",
    f"<img src=x onerror=\"document.title='{MARK}'\">",
    f"</style></title></textarea></script><script>document.title='{MARK}'</script>",
    f'"><svg onload="document.title=\'{MARK}\'">',
    f"'><body onload=\"document.title='{MARK}'\">",
    f"<iframe srcdoc=\"<script>parent.document.title='{MARK}'</script>\"></iframe>",
)
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
        [BROWSER, *words, "--dump-dom", f"file://{folder}/page.html"], capture_output=True, text=True, timeout=120
    )
    assert "</html>" in answer.stdout, answer.stderr
    return answer.stdout


def said_by_models(value, text: str):
    """Every text that a user or a model may have written, replaced."""
    match value:
        case dict():
            return {key: one if key in ("metric", "role") else said_by_models(one, text) for key, one in value.items()}
        case list():
            return [said_by_models(one, text) for one in value]
        case str():
            return text
    return value


@pytest.mark.skipif(BROWSER is None, reason="no chromium here (apt-get install chromium)")
def test_what_a_model_said_is_shown_and_not_run(tmp_path):
    taken = opened(f"<!doctype html><title>x</title>{''.join(ATTACKS)}", tmp_path)
    assert f"<title>{MARK}</title>" in taken, "the attacks do nothing, so nothing would be proved"
    shown = opened(page.render(said_by_models(numbers(), " ".join(ATTACKS))), tmp_path)
    title = shown.split("<title>")[1].split("</title>")[0]
    assert title != MARK and "<iframe" not in shown and "<img" not in shown
    assert html.escape(ATTACKS[0], quote=False) in shown
