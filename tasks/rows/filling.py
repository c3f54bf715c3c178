"""The pools that the programs of one step fill: the step's own, and those of steps beside it that need the same model.

Rows of a pool beside have its number in the column `beside`; the step's own have 0 there.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow.parquet as pq

from infra.budget import BUDGET
from infra.store import Store
from tasks.execution import Run
from tasks.rows.reading import drop_held, read_pool
from tasks.rows.turns import Turn
from tasks.stage import How


@dataclass(frozen=True)
class Wanted:
    """Rows that a step wants in a pool, and the fields of a program's job that only these rows have."""

    pool: str
    rows: pd.DataFrame
    job: Mapping = field(default_factory=dict)


class Filling:
    """What each pool lacks, the files with which a program is asked for it, and its finished parts."""

    def __init__(self, run: Run, wanted: list[Wanted], key: list[str]):
        self.run, self.key = run, key
        self.known = {each.pool: {entry.name for entry in run.store.parts(each.pool)} for each in wanted}
        self.stores = {each.pool: run.store for each in wanted}
        missing = [self.drop_known(each.pool, each.rows) for each in wanted]
        self.held = len(wanted[0].rows) - len(missing[0])
        for place, each in enumerate(wanted):  # a row that two steps want is made once
            for before in (other.rows for other in wanted[:place] if other.pool == each.pool):
                missing[place] = drop_held(missing[place], before, key)
        mine = run.share.rows if run.share else lambda rows: rows
        self.wanted = [Wanted(each.pool, mine(each.rows), each.job) for each in wanted]
        self.missing = [mine(rows) for rows in missing]

    @property
    def lacking(self) -> list[str]:
        """The pools that lack rows, in an order that is the same in every run: no two runs wait for each other's turn."""
        return sorted({each.pool for each, rows in zip(self.wanted, self.missing, strict=True) if len(rows)})

    def begin(self, pool: str, turn: Turn) -> None:
        """Writes to the pool only under this lease, and reads the parts that came during the wait for it."""
        self.stores[pool] = self.run.store.fenced(turn)
        for place, each in enumerate(self.wanted):
            if each.pool == pool:
                self.missing[place] = self.drop_known(pool, self.missing[place], self.known[pool])

    def drop_known(self, pool: str, rows: pd.DataFrame, known: Collection[str] = ()) -> pd.DataFrame:
        return drop_held(rows, read_pool(self.run, pool, self.key, self.key, known), self.key)

    def all_missing(self) -> pd.DataFrame:
        if len(self.wanted) == 1:
            return self.missing[0]
        return pd.concat([rows.assign(beside=place) for place, rows in enumerate(self.missing)], ignore_index=True)

    def left(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that no pool has yet."""
        if "beside" not in rows:
            return self.drop_known(self.wanted[0].pool, rows)
        asked = [self.drop_known(self.wanted[place].pool, each) for place, each in split_by_pool(rows).items()]
        return pd.concat(asked, ignore_index=True)

    def ask(self, rows: pd.DataFrame, out: Path) -> dict:
        """Writes a program's rows into its folder, and returns the fields of its job."""
        if "beside" not in rows:
            return {"rows": write_rows(rows, out / "rows.parquet")}
        groups = {place: each.drop(columns="beside") for place, each in split_by_pool(rows).items()}
        others = [
            {
                **self.wanted[place].job,
                "rows": write_rows(each, out / f"rows-{place}.parquet"),
                "out": f"beside-{place}",
            }
            for place, each in groups.items()
            if place
        ]
        own = groups.get(0, rows[:0].drop(columns="beside"))
        return {"rows": write_rows(own, out / "rows.parquet"), "beside": others}

    def commit(self, out: Path) -> None:
        """Moves every finished part from a program's folder to its pool."""
        for place, wanted in enumerate(self.wanted):
            folder = out / f"beside-{place}" if place else out
            commit_parts(self.run, self.stores[wanted.pool], wanted.pool, folder)


def commit_parts(run: Run, store: Store, pool: str, folder: Path) -> None:
    """Moves the finished parts to the pool. Raises BudgetReached after them if the budget is spent."""
    parts = sorted(folder.glob("part-*.parquet"))
    for part in parts:
        charge_tokens(run.step.how, part)
        store.append(pool, part, pq.read_metadata(part).num_rows)
        part.unlink()
    if parts:
        BUDGET.check()


def charge_tokens(how: How, part: Path) -> None:
    """Charges the tokens of an endpoint to the budget, at the prices of the step's engine."""
    prices = {"prompt_tokens": getattr(how, "price_in", 0.0), "tokens": getattr(how, "price_out", 0.0)}
    if any(prices.values()):
        columns = [name for name in prices if name in pq.read_schema(part).names]
        for name, column in pq.read_table(part, columns=columns).to_pydict().items():
            BUDGET.spend(sum(value or 0 for value in column) * prices[name] / 1e6)


def split_by_pool(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    places: list[int] = sorted(set(rows["beside"].tolist()))
    return {place: cast("pd.DataFrame", rows[rows["beside"] == place]) for place in places}


def write_rows(rows: pd.DataFrame, file: Path) -> str:
    rows.to_parquet(file, index=False)
    return str(file)
