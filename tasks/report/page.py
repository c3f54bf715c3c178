"""The report of a run as one self-contained HTML page: no scripts, no network, every foreign text escaped."""

from tasks.report import jury_view, record_view, result_view, score_view, suite_view, training_view
from tasks.report.document import document
from tasks.report.headline import headline
from tasks.report.words import text

SECTIONS = [
    ("results", "Results", result_view.results),
    ("differences", "Differences", result_view.differences),
    ("suites", "Suites", suite_view.suites),
    ("shares", "Best sources", score_view.shares),
    ("jury", "Reward models", jury_view.jury),
    ("rewards", "Reward distributions", score_view.rewards),
    ("dynamics", "WRPO dynamics", training_view.dynamics),
    ("sft", "SFT", training_view.tuning),
    ("counts", "Counts", record_view.counts),
    ("costs", "Costs", record_view.costs),
    ("examples", "Examples", record_view.examples),
    ("recipe", "Recipe", record_view.recipe),
    ("versions", "Versions", record_view.versions),
]


def render(numbers: dict) -> str:
    sections = [(anchor, title, content(numbers)) for anchor, title, content in SECTIONS]
    return document(f"Fusion report: {text(numbers['recipe'])}", headline(numbers), sections)
