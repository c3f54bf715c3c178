"""`fuse sources`: what each source of a recipe adds to the best reward and what it costs, from stored scores."""

import argparse
import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.cli.console import make_console
from flows.cli.recipes import load_chain
from flows.results.economics import weigh_recipe
from flows.results.pages import write_sources_page


def show_sources(chosen: argparse.Namespace) -> None:
    _, last, place = load_chain(chosen)
    found = weigh_recipe(last, place.store)
    console = make_console()
    show_worth(console, found["overall"])
    show_order(console, found)
    for juror in found["jury"]:
        if juror["agreement"]:
            same, common = (f"{juror['agreement'][kind]:.1%}" for kind in ("same", "common"))
            line = f"{juror['juror']}: the same best sources for {same} of the prompts, one in common for {common}"
            console.print(line, markup=False, soft_wrap=True)
    for line in found["advice"]:
        console.print(f"advice: {line}", markup=False, soft_wrap=True)
    page = write_sources_page(found, place.workspace)
    page.with_suffix(".json").write_text(json.dumps(found, indent=1))
    console.print(f"\nsources: {page}", soft_wrap=True)


def show_worth(console: Console, overall: dict) -> None:
    columns = ["best", "tied", "mean best", "gain", "without", "tokens"]
    priced = any(source["dollars"] is not None for source in overall["sources"])
    table = make_table(["source"], columns + ["dollars"] * priced)
    for source in overall["sources"]:
        cells = [
            f"{source['wins'] / overall['prompts']:.1%}",
            f"{source['ties'] / overall['prompts']:.1%}",
            f"{source['alone']:.4g}",
            f"{source['gain']:+.4g}",
            f"{source['without'] - overall['best']:+.4g}",
            f"{source['tokens']:,}",
        ]
        dollars = "–" if source["dollars"] is None else f"{source['dollars']:,.2f}"
        table.add_row(escape(source["source"]), *cells, *[dollars] * priced)
    console.print(table)
    console.print(
        f"\n{overall['prompts']:,} prompts: mean best reward {overall['best']:.4g}, mean lowest {overall['lowest']:.4g}; "
        "gain: averaged over all orders of adding the sources",
        soft_wrap=True,
    )


def show_order(console: Console, found: dict) -> None:
    table = make_table(["added"], ["mean best", "tokens so far"])
    for item in found["overall"]["order"]:
        table.add_row(escape(item["source"]), f"{item['best']:.4g}", f"{item['tokens']:,}")
    console.print(table)
    table = make_table(["n"], ["expected best", "tokens"])
    for size in found["sizes"]:
        table.add_row(str(size["n"]), f"{size['best']:.4g}", f"{size['tokens']:,.0f}")
    console.print(table)
    table = make_table(["adaptive, threshold"], ["tokens saved", "mean best"])
    for point in found["adaptive"]:
        saved = 1 - point["tokens"] / point["of_tokens"] if point["of_tokens"] else 0.0
        table.add_row(f"{point['threshold']:g}", f"{saved:.1%}", f"{point['best'] - point['of_best']:+.4g}")
    console.print(table)


def make_table(left: list[str], right: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
