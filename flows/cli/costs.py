"""The price of a plan on the terminal, and the budget of a run."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.plan import Planned
from flows.pricing.estimate import NOTHING, Estimate, Range, estimate_plan
from flows.pricing.prices import CORES, Prices, load_prices
from flows.pricing.schedule import critical_path, wall_seconds
from flows.workspace import Workspace
from infra.budget import BUDGET, read_spent
from infra.errors import BadInput
from infra.gpus import find_gpus
from infra.settings import settings


def show_costs(console: Console, planned: Sequence[Planned], place: Workspace, prices: str | None) -> list[Estimate]:
    """Prints and returns the estimates of the steps to do."""
    estimates = estimate_plan(planned, place.store, load_prices(prices))
    if not estimates:
        return estimates
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("estimate of", overflow="fold")
    for name in ("time p50", "p90", "GPU-hours", "dollars", "tokens", "disk GB", "memory GB", "GPU GB"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("speed from", overflow="fold")
    for step in estimates:
        table.add_row(escape(step.label), *cells_of(step), escape(step.source))
    console.print(table)
    show_totals(console, estimates)
    return estimates


def cells_of(step: Estimate) -> list[str]:
    space = step.space
    return [
        format_time(step.wall.p50),
        format_time(step.wall.p90),
        f"{step.gpu_hours.p50:,.2f}" if step.machine.gpus else "–",
        "–" if step.dollars is None else f"{step.dollars.p50:,.2f}",
        f"{step.tokens:,.0f}",
        f"{space.disk:,.2f}",
        f"{space.host:,.1f}",
        f"{space.gpu:,.0f}" if space.gpu else "–",
    ]


def show_totals(console: Console, estimates: Sequence[Estimate]) -> None:
    gpus = max([len(find_gpus()), *(step.machine.gpus * step.programs for step in estimates)])
    wall = Range(*(wall_seconds(estimates, settings().slots, gpus, of) for of in ("p50", "p90")))
    hours, dollars = sum((step.gpu_hours for step in estimates), NOTHING), sum_dollars(estimates)
    unpriced = sum(step.dollars is None for step in estimates)
    lines = [f"wall time {format_time(wall.p50)}, p90 {format_time(wall.p90)}"]
    if hours.p50:
        lines.append(f"GPU-hours {hours.p50:,.1f}, p90 {hours.p90:,.1f}, on {gpus} GPUs")
    lines.append(
        f"dollars {dollars.p50:,.2f}, p90 {dollars.p90:,.2f}"
        + (f", {unpriced} steps without a price" if unpriced else "")
    )
    lines.append(f"tokens {sum(step.tokens for step in estimates):,.0f}")
    lines.append(f"disk {sum(step.space.disk for step in estimates):,.1f} GB")
    lines.append(f"energy {sum(step.kilowatt_hours for step in estimates):,.2f} kWh by assumed power")
    console.print("\nin all: " + "; ".join(lines), soft_wrap=True)
    path = " → ".join(
        f"{step.label} ({format_time(step.wall.p50)})" for step in critical_path(estimates) if step.wall.p50 >= 1
    )
    if path:
        console.print(f"longest chain: {path}", markup=False, soft_wrap=True)


def sum_dollars(estimates: Sequence[Estimate]) -> Range:
    return sum((step.dollars for step in estimates if step.dollars), NOTHING)


def refuse_above_budget(estimates: Sequence[Estimate], budget: float | None, spent: float = 0.0) -> None:
    """Raises BadInput if the expected price, with what the run has spent before, is above the budget, or is not known."""
    if budget is None:
        return
    if budget < 0:
        raise BadInput(f"--budget: must be at least 0, not {budget:g}")
    if unpriced := [step for step in estimates if step.dollars is None]:
        named = f"{unpriced[0].label} on {unpriced[0].machine.kind}"
        raise BadInput(
            f"--budget: {len(unpriced)} steps have no price, the first is {named}; give their prices with --prices"
        )
    if (total := spent + sum_dollars(estimates).p50) > budget:
        before = f", {spent:,.2f} of it spent before" if spent else ""
        raise BadInput(
            f"--budget {budget:g}: the run is expected to cost {total:,.2f} dollars{before}; nothing was started"
        )


def begin_budget(estimates: Sequence[Estimate], budget: float | None, prices: str | None, file: Path) -> None:
    """Refuses a run above its budget; sets the budget of this process."""
    if budget is None:
        return
    refuse_above_budget(estimates, budget, read_spent(file))
    given = load_prices(prices)
    BUDGET.begin(budget, max_rate(estimates, given), given.hour.get(CORES, 0.0), file)


def max_rate(estimates: Sequence[Estimate], prices: Prices) -> float:
    """Dollars per GPU-hour of the dearest kind that the run uses."""
    return max((prices.hour.get(step.machine.kind, 0.0) for step in estimates if step.machine.gpus), default=0.0)


def format_time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
