"""The page about sources: every number it promises, in a world that can be counted by hand; foreign names are only shown."""

import numpy as np

from flows.results.economics import weigh_rows
from tasks.economics.rows import ScoredRows
from tasks.report.source_view import render_sources_page
from tests.report.test_page import HOSTILE, visible

NAMES = ("a", HOSTILE)


def weigh(categories: list[str]) -> dict:
    """Two prompts, two sources, two samples: a wins the first prompt, and both tie in the second."""
    prompt, source = np.array([0, 0, 1, 1] * 2), np.repeat([0, 1], 4)
    score = np.array([3.0, 1.0, 2.0, 2.0, 2.0, np.nan, 2.0, 1.0])
    found = weigh_rows(ScoredRows(NAMES, prompt, source, score, np.full(8, 10)), np.array(categories), [None, 4.0])
    return {"recipe": "small", "jury": [], **found}


def test_a_world_of_eight_rows_is_weighed_as_by_hand():
    found = weigh(["x", "y", "z"])
    overall = found["overall"]
    assert (overall["prompts"], overall["best"], overall["lowest"], found["unscored"], found["unanswered"]) == (
        2,
        2.5,
        1.0,
        1,
        1,
    )
    first, second = overall["sources"]
    assert (first["wins"], first["ties"], second["wins"], second["ties"]) == (1, 1, 0, 1)
    assert (first["without"], second["without"]) == (2.0, 2.5)
    assert (first["gain"], second["gain"]) == ((1.5 + 0.5) / 2, (0.5 + 0.5) / 2)  # rises 1 to 2 to 3, and 1 to 2 shared
    assert [item["source"] for item in overall["order"]] == ["a", HOSTILE]
    assert overall["order"][0] == {"source": "a", "best": 2.5, "tokens": 40, "dollars": None}
    assert found["sizes"][1]["best"] == 2.5 and set(found["categories"]) == {"x", "y"}
    assert found["categories"]["x"]["sources"][1]["dollars"] == 2.0
    assert found["advice"][0].startswith(f"without {HOSTILE}: +0.00% of best reward")


def test_the_page_shows_all_parts_and_runs_nothing():
    written = render_sources_page(weigh(["x", "y"]))
    shown = visible(written)
    for words in (
        "Greedy order",
        "Samples per prompt",
        "Adaptive sampling",
        "Overlap",
        "Categories",
        "The recipe has no jury.",
    ):
        assert words in shown
    assert "<script" not in written and "<img" not in written and "\ud800" not in written


def test_a_source_without_scores_or_tokens_leaves_dashes():
    rows = ScoredRows(("a", "b"), np.array([0, 0]), np.array([0, 1]), np.array([1.0, np.nan]), np.zeros(2, "int64"))
    found = {"recipe": "small", "jury": [], **weigh_rows(rows, np.array([""]), [None, None])}
    shown = visible(render_sources_page(found))
    assert "nan" not in shown and "None" not in shown and found["advice"] == []
