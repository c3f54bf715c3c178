"""The report page: what it must show, what it must never run, and what it says when something is missing."""

import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from tasks.report import charts, jury_view, page, record_view, result_view
from tasks.report.axes import Scale, round_ticks
from tasks.report.headline import render_headline
from tasks.report.words import format_measured, format_percent

LONG = "gemma-2-27b-it-with-a-long-name"
HOSTILE = """<script>alert(1)</script>"><img src=//evil.example/x onerror=alert(2)>' & \ud800"""


def estimate(value: float, half: float = 0.05) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def result(model: str, role: str, accuracy: float, win_rate: float | None, tokens: float) -> dict:
    return {
        "model": model,
        "role": role,
        "accuracy": estimate(accuracy),
        "win_rate": None if win_rate is None else estimate(win_rate, 0.04),
        "tokens": tokens,
        "unchecked": 0,
    }


def difference(before: str, after: str, metric: str, value: float, low: float | None, high: float | None) -> dict:
    return {"from": before, "to": after, "metric": metric, "value": value, "low": low, "high": high}


def log(step: int) -> dict:
    part = step / 40
    return {
        "step": step,
        "alpha": 0.1 * part,
        "loss": 0.693 - 0.3 * part,
        "reward_own_worst": -0.8 * part,
        "reward_own_best": 0.2 * part,
        "reward_source_best": 0.4 * part + 0.03 * math.sin(step),
        "margin": 1.1 * part + 0.05 * math.cos(3 * step),
        "accuracy_weighted": 0.5 + 0.4 * part,
        "accuracy_source": 0.45 + 0.4 * part,
        "accuracy_own": 0.5 + 0.3 * part,
        "learning_rate": 5e-7 * (1 - part),
        "grad_norm": 3 + math.sin(step),
    }


def bell(name: str, role: str, mean: float) -> dict:
    counts = [round(400 * math.exp(-(((-0.95 + 0.1 * index - mean) / 0.3) ** 2))) for index in range(20)]
    return {"name": name, "role": role, "counts": counts, "mean": mean}


def numbers() -> dict:
    """A whole run with round, recognisable numbers."""
    said = [("target", "dlrow", False), ("SFT", "it is ‘world’", None), ("WRPO", "world\nas it reads so", True)]
    return {
        "recipe": "demo",
        "fingerprint": "ab12cd34ef56",
        "created": "2026-01-31T12:00:00Z",
        "summary": "target to SFT, accuracy: +11.8 points; SFT to WRPO, win rate: within noise.",
        "held_out": 300,
        "judge": "tiny-judge",
        "no_accuracy": None,
        "confidence": 0.95,
        "results": [
            result("target", "target", 0.413, 0.301, 6.9),
            result("SFT", "sft", 0.531, 0.452, 7.4),
            result("WRPO", "wrpo", 0.622, 0.557, 7.1),
            result("reverser", "source", 0.704, 0.61, 8.2),
            result("sorter", "source", 0.357, None, 5.5),
            result(LONG, "source", 0.66, 0.58, 12.4),
        ],
        "differences": [
            difference("target", "SFT", "accuracy", 0.118, 0.081, 0.156),
            difference("SFT", "WRPO", "accuracy", 0.091, 0.052, 0.127),
            difference("target", "SFT", "win_rate", 0.151, 0.101, 0.2),
            difference("SFT", "WRPO", "win_rate", 0.021, -0.012, 0.054),
        ],
        "shares": [
            {"source": name, "count": count, "tied": 7, "share": count / 1200, "mean_score": score, "responses": 4000}
            for name, count, score in (("reverser", 640, 0.81), ("sorter", 180, 0.34), (LONG, 380, 0.7))
        ],
        "suites": [],
        "jury": {
            "models": [
                {
                    "name": name,
                    "responses": 12000 - lost,
                    "unscored": lost,
                    "ties": ties,
                    "length_pearson": length,
                    "length_spearman": length - 0.03,
                    "sources": [
                        {"source": source, "mean": mean, "residual": mean - 0.2 * length}
                        for source, mean in (("reverser", 0.81), ("sorter", 0.34), (LONG, 0.7))
                    ],
                }
                for name, lost, ties, length in (("reward", 0, 0.036, 0.41), ("armorm", 17, 0.008, -0.07))
            ],
            "agreements": [
                {
                    "one": "reward",
                    "other": "armorm",
                    "responses": 11983,
                    "pearson": 0.72,
                    "spearman": 0.69,
                    "top": 0.581,
                }
            ],
        },
        "rewards": {
            "edges": [-1 + 0.1 * index for index in range(21)],
            "series": [
                bell("reverser", "source", 0.5),
                bell("sorter", "source", 0.1),
                bell("target", "target", -0.3),
                bell("SFT", "sft", 0.2),
                bell("WRPO", "wrpo", 0.3),
            ],
        },
        "dynamics": [log(step) for step in range(1, 41)],
        "sft_dynamics": [
            {"step": step, "loss": 0.6 + 1.7 * math.exp(-step / 12), "learning_rate": 4e-7 * (50 - step)}
            for step in range(1, 51)
        ],
        "counts": [
            {"stage": "splitting", "label": "preference", "what": "kept", "value": 1200},
            {"stage": "splitting", "label": "preference", "what": "dropped: no margin", "value": 12},
        ],
        "costs": [
            {"label": "per-model sampling · reverser", "rows": 6000, "tokens": 41000, "seconds": 12.3},
            {"label": "SFT", "rows": 1300, "tokens": None, "seconds": 145.0},
            {"label": "WRPO", "rows": 1200, "tokens": 9000, "seconds": 4000.0},
        ],
        "examples": [
            {
                "prompt": "Reverse: dlrow",
                "gold": "world",
                "answers": [{"model": model, "text": words, "correct": correct} for model, words, correct in said],
            }
        ]
        * 2,
        "recipe_text": 'name = "demo"\n\n[wrpo]\nbeta = 0.1\nalpha = 0.1\n',
        "versions": {"torch": "2.13.0", "commit": "0123abcd"},
    }


EMPTY = {key: type(value)() if isinstance(value, list | str | dict) else value for key, value in numbers().items()}


def hostile(value: object) -> object:
    """The same numbers with every free text replaced; roles and metrics are words of ours, not of a model."""
    match value:
        case dict():
            return {key: one if key in ("metric", "role") else hostile(one) for key, one in value.items()}
        case list():
            return [hostile(one) for one in value]
        case str():
            return HOSTILE
    return value


class Elements(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list):
        self.found.append((tag, dict(attrs)))


def visible(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", html.split("</style>")[1])


def test_every_foreign_text_is_shown_and_none_becomes_markup():
    written = page.render_report_page(hostile({**numbers(), "versions": {HOSTILE: HOSTILE}}))
    tags = {tag for tag, _ in Elements(written).found}
    names = {name for _, attributes in Elements(written).found for name in attributes}
    assert not tags & {"script", "img", "iframe", "object", "link"}
    assert not [name for name in names if name.startswith("on")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written
    written.encode("utf-8")


@pytest.mark.parametrize("values", [numbers(), EMPTY, hostile(numbers())])
def test_nothing_is_loaded_from_anywhere(values):
    written = page.render_report_page(values)
    for _, attributes in Elements(written).found:
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    style = written.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_every_result_stands_with_its_interval():
    shown = result_view.render_results(numbers())
    for value, interval in (
        ("41.3 %", "36.3 to 46.3 %"),
        ("30.1 %", "26.1 to 34.1 %"),
        ("35.7 %", "30.7 to 40.7 %"),
        ("62.2 %", "57.2 to 67.2 %"),
        ("55.7 %", "51.7 to 59.7 %"),
        ("61.0 %", "57.0 to 65.0 %"),
    ):
        assert f'{value}<span class="interval">{interval}</span>' in shown
    for one in numbers()["results"]:
        assert one["model"] in visible("</style>" + shown)


def test_the_headline_shows_the_three_models_in_order():
    shown = visible("</style>" + render_headline(numbers()))
    assert re.search(r"target.*41\.3 %.*SFT.*53\.1 %.*WRPO.*62\.2 %", shown)
    assert re.search(r"accuracy\s+\+11\.8 pp", shown)


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [
        (-0.01, 0.05, "within noise"),
        (0.0, 0.05, "within noise"),
        (-0.05, 0.0, "within noise"),
        (0.001, 0.05, "higher"),
        (-0.05, -0.001, "lower"),
        (None, None, "–"),
        (math.nan, math.nan, "–"),
    ],
)
def test_an_interval_that_includes_zero_is_within_noise(low, high, reading):
    one = difference("SFT", "WRPO", "accuracy", 0.02, low, high)
    assert f"<td>{reading}</td>" in result_view.render_differences({**numbers(), "differences": [one]})
    head = render_headline({**numbers(), "differences": [one], "summary": ""})
    assert ("within noise" in head) == (reading == "within noise")


def test_what_is_absent_is_said_in_words():
    written = page.render_report_page(EMPTY)
    assert written.count('class="absent"') == len(page.SECTIONS)
    assert "No response of a source was scored" in written
    assert "<svg" not in written


def test_a_missing_number_is_a_dash_and_never_none_or_nan():
    values = numbers()
    values["results"][0].update(accuracy=None, win_rate=None, tokens=None)
    values["results"][1]["accuracy"] = {"value": 0.5, "low": None, "high": math.nan}
    values["dynamics"] = [{key: one if key == "step" else None for key, one in log(step).items()} for step in (1, 2)]
    values["dynamics"][0]["loss"] = math.nan
    values["sft_dynamics"][3]["loss"] = None
    for rows in (values["shares"], values["costs"]):
        rows[0].update({key: None for key, one in rows[0].items() if not isinstance(one, str)})
    values["rewards"]["series"][0].update(mean=None, counts=[0] * 20)
    written = page.render_report_page(values)
    assert not re.search(r"\b(None|nan|inf)\b", visible(written).replace("default-src", ""))
    assert not re.search(r'"[^"]*\b(nan|None)\b[^"]*"', written.split("</head>")[1])
    assert "WRPO loss: no values were logged." in written


def test_costs_stand_beside_what_the_plan_expected():
    values = numbers()
    assert "Estimate" not in visible("</style>" + record_view.render_costs(values))
    values["costs"][1]["estimate"] = {"p50": 100.0, "p90": 160.0, "source": "published"}
    shown = visible("</style>" + record_view.render_costs(values))
    assert "Time / p50" in shown and "1 min 40 s, 2 min 40 s" in shown and "1.45" in shown


def test_an_accuracy_that_was_not_measured_is_a_dash_with_its_reason():
    values = numbers() | {"no_accuracy": "the recipe has no [checks]"}
    for one in values["results"]:
        one["accuracy"] = None
    shown = visible("</style>" + result_view.render_results(values))
    assert "Accuracy (–, because the recipe has no [checks])" in shown and "accuracy (%)" not in shown
    values["no_accuracy"], values["results"][1]["unchecked"] = None, 3
    assert "not checked, counted as not correct: SFT 3" in visible("</style>" + result_view.render_results(values))


def test_a_missing_step_leaves_a_gap_in_the_curve():
    flat = Scale(0.0, 10.0, 0.0, 10.0)
    points = [(0, 1.0), (1, 2.0), (2, None), (3, 4.0), (4, math.nan)]
    assert charts.draw_trace(points, flat, flat) == "M0.0 1.0L1.0 2.0M3.0 4.0"


def test_a_whisker_spans_exactly_its_interval():
    rows = [
        ("one", "target", {"value": 0.5, "low": 0.25, "high": 1.0}),
        ("two", "source", {"value": 0.0, "low": 0.0, "high": 1.0}),
    ]
    drawn = charts.draw_forest(rows, "rate", None, format_percent, str)
    whisker = r'x1="([\d.]+)" y1="{0}" x2="([\d.]+)" y2="{0}" class="whisker"'
    first, last = ([float(end) for end in re.search(whisker.format(y), drawn).groups()] for y in (20, 48))
    assert first[1] == last[1]
    assert first[0] == pytest.approx(last[0] + (last[1] - last[0]) / 4, abs=0.1)
    middle = float(re.search(r'<circle cx="([\d.]+)" cy="20"', drawn).group(1))
    assert middle == pytest.approx((last[0] + last[1]) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.7, 1.2, [-0.5, 0.0, 0.5, 1.0]),
        (3, 47, [10, 20, 30, 40]),
        (0, 5e-7, [0, 1e-7, 2e-7, 3e-7, 4e-7, 5e-7]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, wanted):
    assert round_ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (0.9, "0.900"), (-1.1439, "−1.14"), (123.4, "123"), (2e-7, "2.00×10⁻⁷"), (math.nan, "–"), (None, "–")],
)
def test_a_measured_value_has_three_significant_digits(value, words):
    assert format_measured(value) == words


@pytest.mark.parametrize("wanted", [[100.0, 101.0, 99.0], [36.0, 36.5, 37.0], [200.0, 199.0, 198.0]])
def test_labels_at_the_ends_of_lines_never_overlap_nor_leave_the_chart(wanted):
    placed = charts.spread_positions(wanted, 15, 36, 200)
    assert all(after - before >= 15 for before, after in itertools.pairwise(sorted(placed)))
    assert min(placed) >= 36
    assert max(placed) <= 200
    assert sorted(range(3), key=placed.__getitem__) == sorted(range(3), key=wanted.__getitem__)


def test_times_and_totals_of_costs_are_summed_over_what_is_known():
    shown = visible("</style>" + record_view.render_costs(numbers()))
    for words in ("12.3 s", "2 min 25 s", "1 h 06 min", "8,500", "50,000"):
        assert words in shown
    assert re.search(r"Total\s+8,500\s+50,000\s+1 h 09 min", shown)


def test_one_step_and_one_model_are_enough_for_a_page():
    values = {
        **numbers(),
        "dynamics": [log(1)],
        "sft_dynamics": [{"step": 7, "loss": 2.0, "learning_rate": 0.0}],
        "results": [result("only", "wrpo", 0.0, None, 1.0)],
        "differences": [],
    }
    assert page.render_report_page(values).count('class="curve"') == 13


def test_sections_are_reached_from_the_contents():
    found = Elements(page.render_report_page(numbers())).found
    anchors = {attributes["href"][1:] for tag, attributes in found if tag == "a"}
    assert anchors == {attributes["id"] for tag, attributes in found if tag == "section"}


def test_reward_models_stand_with_their_ties_length_and_agreement():
    shown = visible("</style>" + jury_view.render_jury(numbers()))
    assert re.search(r"armorm\s+11,983\s+17\s+0\.8 %\s+−0\.07\s+−0\.10", shown)
    assert re.search(r"reward\s+reverser\s+0\.810\s+0\.728\s+sorter\s+0\.340\s+0\.258", shown)
    assert re.search(r"reward · armorm\s+11,983\s+\+0\.72\s+\+0\.69\s+58\.1 %", shown)


def test_one_reward_model_alone_agrees_with_nobody():
    values = numbers()
    alone = {"models": values["jury"]["models"][:1], "agreements": []}
    shown = jury_view.render_jury({**values, "jury": alone})
    assert "Ties for best" in shown and "Beyond length" in shown and "Same best" not in shown
