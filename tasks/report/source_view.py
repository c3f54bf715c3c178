"""The page about a recipe's sources: what each adds to the best reward, and what it costs."""

from tasks.report.charts import draw_bars, draw_curves
from tasks.report.document import render_document
from tasks.report.markup import render_absent, render_figure, render_table
from tasks.report.words import Html, format_decimal, format_measured, format_percent, render_value

ABOUT = (
    "All numbers are exact and come from stored scores; equal texts have one score. The <b>rise</b> is the mean best reward "
    "minus the mean of each prompt's lowest score. The <b>gain</b> of a source is its part of the rise, averaged over all "
    "orders in which the sources can be added: the gains add up to the rise. <b>Without</b> is the change if only this source "
    "is left out. A prompt that no chosen source answered counts with its lowest score."
)


def render_sources_page(found: dict) -> str:
    sections: list[tuple[str, str, str]] = [
        ("advice", "Advice", render_advice(found)),
        ("sources", "Sources", render_worth(found["overall"])),
        ("order", "Greedy order", render_order(found["overall"])),
        ("sizes", "Samples per prompt", render_sizes(found)),
        ("adaptive", "Adaptive sampling", render_adaptive(found["adaptive"])),
        ("overlap", "Overlap", render_overlap(found["overall"])),
        ("categories", "Categories", render_categories(found["categories"])),
        ("jury", "Reward models", render_jury_worth(found)),
    ]
    name = render_value(found["recipe"])
    lead = (
        f"{found['overall']['prompts']:,} prompts, {found['responses']:,} responses, {found['unscored']:,} of them without a "
        f"score; {found['unanswered']:,} prompts have no scored response and are left out."
    )
    header = f'<header><h1>Sources of {name}</h1><p class="lead">{render_value(lead)}</p><p class="meta">{ABOUT}</p></header>'
    return render_document(f"Sources: {name}", header, sections)


def render_advice(found: dict) -> str:
    if not found["advice"]:
        return render_absent("Nothing to advise: one source, no rise of the reward, or no counted tokens.")
    return "".join(f"<p>{render_value(line)}</p>" for line in found["advice"])


def render_worth(overall: dict) -> str:
    bars = [
        (
            source["source"],
            source["gain"] / rise_of(overall),
            source["tokens"] / max(overall["tokens"], 1),
            show_gain(source),
        )
        for source in overall["sources"]
        if rise_of(overall) > 0
    ]
    caption = "Each source's share of the rise of the best reward. The vertical tick is its share of all tokens."
    chart = render_figure(caption, [draw_bars(bars, "share of the rise")]) if bars else ""
    heads = [
        "Source",
        "Best, without ties",
        "Best, tied",
        "Mean best if only it",
        "Gain",
        "Without",
        "Tokens",
        "Dollars",
    ]
    return chart + render_table(heads, [worth_cells(source, overall) for source in overall["sources"]], 7)


def worth_cells(source: dict, overall: dict) -> list:
    return [
        source["source"],
        format_percent(source["wins"] / overall["prompts"]),
        format_percent(source["ties"] / overall["prompts"]),
        format_measured(source["alone"]),
        show_gain(source),
        format_signed(source["without"] - overall["best"]),
        format_share(source["tokens"], overall["tokens"]),
        format_dollars(source["dollars"]),
    ]


def rise_of(overall: dict) -> float:
    return overall["best"] - overall["lowest"]


def show_gain(source: dict) -> str:
    return format_signed(source["gain"])


def format_signed(value: float) -> str:
    return format_measured(value) if value <= 0 else f"+{format_measured(value)}"


def format_share(part: float, whole: float) -> Html:
    share = format_percent(part / whole) if whole else "–"
    return Html(f'{format_decimal(part)}<span class="interval">{share}</span>')


def format_dollars(value: float | None) -> str:
    return format_decimal(value, 2)


def render_order(overall: dict) -> str:
    """The curve of the mean best reward against tokens, and the table behind it."""
    start = {"step": 0, "best": overall["lowest"]}
    points = [start, *({"step": item["tokens"], "best": item["best"]} for item in overall["order"])]
    chart = draw_curves(points, [("best", "best", "wrpo")], "mean best reward", over="tokens")
    caption = "Each time the source that raises the mean best reward most, against the tokens of all sources so far."
    rows = [
        [
            f"{place}. {item['source']}",
            format_measured(item["best"]),
            format_percent((item["best"] - overall["lowest"]) / rise_of(overall)) if rise_of(overall) > 0 else "–",
            format_decimal(item["tokens"]),
            format_dollars(item["dollars"]),
        ]
        for place, item in enumerate(overall["order"], 1)
    ]
    table = render_table(["Source added", "Mean best", "Of the rise", "Tokens so far", "Dollars so far"], rows, 4)
    return (render_figure(caption, [chart]) if overall["tokens"] else "") + table


def render_sizes(found: dict) -> str:
    caption = (
        "The expected mean best reward if only n of the stored samples of each source and prompt are drawn: the exact "
        "expectation over all choices. A source with fewer samples gives all that it has."
    )
    rows = [
        [
            size["n"],
            format_measured(size["best"]),
            format_signed(size["best"] - last["best"]),
            format_decimal(size["tokens"]),
        ]
        for size in found["sizes"]
        for last in [found["sizes"][-1]]
    ]
    table = render_table(["n, all sources", "Expected best", "Difference to all", "Tokens"], rows, 3)
    largest = max((len(sizes) for sizes in found["sizes_by_source"].values()), default=0)
    heads = ["Source, on the prompts that it answered"]
    longest = next((sizes for sizes in found["sizes_by_source"].values() if len(sizes) == largest), [])
    heads += [f"n = {size['n']}" for size in longest]
    by_source = [
        [name, *(format_measured(size["best"]) for size in sizes), *[""] * (largest - len(sizes))]
        for name, sizes in found["sizes_by_source"].items()
    ]
    return f"<p>{caption}</p>{table}{render_table(heads, by_source, largest)}"


def render_adaptive(curve: list[dict]) -> str:
    caption = (
        "A replay on the stored rows, in rounds of one sample: after each round, a source is asked again for a prompt only if "
        "its estimated chance to beat the best score so far is at least the threshold. The saving is in response tokens, the "
        "loss in the mean best reward and in its rise above the lowest score."
    )
    rows = [
        [
            f"{point['threshold']:g}",
            format_decimal(point["tokens"]),
            format_percent(1 - point["tokens"] / point["of_tokens"]) if point["of_tokens"] else "–",
            format_signed(point["best"] - point["of_best"]),
            format_percent((point["best"] - point["of_best"]) / abs(point["of_best"])) if point["of_best"] else "–",
            format_percent((point["best"] - point["of_best"]) / (point["of_best"] - point["lowest"]))
            if point["of_best"] > point["lowest"]
            else "–",
        ]
        for point in curve
    ]
    heads = ["Threshold", "Tokens", "Saved", "Mean best", "Of best reward", "Of the rise"]
    return f"<p>{caption}</p>{render_table(heads, rows, 5)}"


def render_overlap(overall: dict) -> str:
    if not overall["pairs"]:
        return render_absent("There is one source.")
    caption = (
        "How much of the weaker source's value the stronger one already has: 100 % means that it adds nothing to the other, "
        "0 % that their values add up."
    )
    ordered = sorted(overall["pairs"], key=lambda pair: -(pair["overlap"] or 0.0))
    rows = [[f"{pair['one']} · {pair['other']}", format_percent(pair["overlap"])] for pair in ordered]
    return f"<p>{caption}</p>{render_table(['Sources', 'Overlap'], rows, 1)}"


def render_categories(categories: dict[str, dict]) -> str:
    if not categories:
        return render_absent("All prompts have one category.")
    rows = [
        [name if place == 0 else "", source["source"], *worth_cells(source, overall)[1:]]
        for name, overall in categories.items()
        for place, source in enumerate(sorted(overall["sources"], key=lambda source: -source["gain"]))
    ]
    heads = ["Category", "Source", "Best, without ties", "Best, tied", "Mean best if only it", "Gain", "Without"]
    return render_table([*heads, "Tokens", "Dollars"], rows, 7)


def render_jury_worth(found: dict) -> str:
    if not found["jury"]:
        return render_absent("The recipe has no jury.")
    rows = []
    for juror in found["jury"]:
        agreement, overall = juror["agreement"], juror["overall"]
        if overall is None:
            rows.append([juror["juror"], "no common prompt", "", "", "", "", ""])
            continue
        for place, source in enumerate(overall["sources"]):
            shares = [format_percent(agreement[kind]) if place == 0 else "" for kind in ("same", "common")]
            rows.append([juror["juror"] if place == 0 else "", *shares, source["source"], *jury_cells(source, overall)])
    caption = (
        "The same responses, scored by the jury: the share of prompts where reward model and juror name exactly the same "
        "sources as best, where they name at least one in common, and each source's numbers by the juror."
    )
    heads = ["Juror", "Same best", "One in common", "Source", "Best, without ties", "Gain, of the rise", "Without"]
    return f"<p>{caption}</p>{render_table(heads, rows, 3)}"


def jury_cells(source: dict, overall: dict) -> list:
    rise = rise_of(overall)
    return [
        format_percent(source["wins"] / overall["prompts"]),
        format_percent(source["gain"] / rise) if rise > 0 else "–",
        format_signed(source["without"] - overall["best"]),
    ]
