"""The report of a run as one self-contained HTML page: no scripts, no network, every foreign text escaped."""

from tasks.report import jury_view, record_view, result_view, score_view, suite_view, training_view
from tasks.report.document import render_document
from tasks.report.headline import render_headline
from tasks.report.words import render_value

SECTIONS = [
    ("results", "Results", result_view.render_results),
    ("differences", "Differences", result_view.render_differences),
    ("suites", "Suites", suite_view.render_suites),
    ("shares", "Best sources", score_view.render_shares),
    ("jury", "Reward models", jury_view.render_jury),
    ("rewards", "Reward distributions", score_view.render_rewards),
    ("dynamics", "WRPO dynamics", training_view.render_dynamics),
    ("sft", "SFT", training_view.render_tuning),
    ("counts", "Counts", record_view.render_counts),
    ("costs", "Costs", record_view.render_costs),
    ("examples", "Examples", record_view.render_examples),
    ("recipe", "Recipe", record_view.render_recipe),
    ("versions", "Versions", record_view.render_versions),
]


def render_report_page(numbers: dict) -> str:
    sections = [(anchor, title, content(numbers)) for anchor, title, content in SECTIONS]
    return render_document(f"Fusion report: {render_value(numbers['recipe'])}", render_headline(numbers), sections)
