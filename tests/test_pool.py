"""Rows are made once: a pool that fills, is found, extended, left half full by a kill, and never takes less for all."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import ProgramFailed
from tasks.rows import reading
from tasks.rows.pool import fill_pool, write_table
from tasks.stage import How, What, stage
from tests.squares import SCHEMA


class Numbers(What):
    numbers: tuple[int, ...]


class Fate(How):
    dies_after: int = -1  # parts
    leaves_out: int = -1


@stage("squares", version="1", rows=lambda what, inputs: {"squares": "of whole numbers"})
def squares(run, what, how):
    wanted = pd.DataFrame({"number": what.numbers})
    rows = fill_pool(run, wanted, ["number"], SCHEMA, "tests.squares", how.model_dump())
    write_table(run, rows, SCHEMA, "squares.parquet")


def step(*numbers: int, **fate: int):
    return squares(what=Numbers(numbers=numbers), how=Fate(**fate))


def counts(manifest) -> tuple[int, int, int]:
    return tuple(manifest.counts[name] for name in ("rows", "rows_found", "rows_made"))


def right(table: pd.DataFrame, numbers) -> bool:
    """In the order that was asked for."""
    expected = [(number, number * number) for number in numbers]
    return [(row.number, row.square) for row in table.itertuples()] == expected


def test_rows_are_made_once_and_an_extension_makes_only_what_is_missing(workplace):
    first = step(5, 1, 4, 2)
    assert counts(workplace.made(first)) == (4, 0, 4)
    made = workplace.table(first, "squares.parquet")
    assert right(made, (5, 1, 4, 2))

    fewer = workplace.made(step(2, 5))
    assert counts(fewer) == (2, 2, 0) and "program_seconds" not in fewer.counts  # no program was started
    assert right(workplace.table(step(2, 5), "squares.parquet"), (2, 5))

    more = step(9, 4, 7, 1, 8, 5, 2)
    assert counts(workplace.made(more)) == (7, 4, 3)
    table = workplace.table(more, "squares.parquet")
    assert right(table, (9, 4, 7, 1, 8, 5, 2))
    makers, new = table.set_index("number")["maker"], table[table["number"].isin((9, 7, 8))]
    assert makers[[5, 1, 4, 2]].to_dict() == made.set_index("number")["maker"].to_dict()
    assert new["maker"].nunique() == 1 and new["place"].tolist() == [0, 1, 2]  # asked for in the order of the wanted


def test_a_dead_program_leaves_parts_and_the_next_run_the_rest(workplace):
    numbers = (3, 1, 4, 15, 9, 2, 6)
    with pytest.raises(ProgramFailed, match="killed by signal 9"):
        workplace.made(step(*numbers, dies_after=2))
    assert workplace.store.manifests("squares") == []
    assert sum(part.rows for part in workplace.store.parts(step(1).pool)) == 4
    assert counts(workplace.made(step(*numbers))) == (7, 4, 3)
    table = workplace.table(step(*numbers), "squares.parquet")
    assert right(table, numbers) and table["maker"].nunique() == 2


def test_a_row_that_two_runs_made_counts_once_and_always_the_same(workplace, tmp_path):
    pool, names = step(1).pool, {}
    for maker in ("one", "other"):
        rows = [{"number": n, "square": n * n, "place": 0, "maker": maker, "tokens": 1} for n in (1, 2)]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / maker)
        names[workplace.store.append(pool, tmp_path / maker, 2).name] = maker
    manifest = workplace.made(step(2, 1, 3))
    table = workplace.table(step(2, 1, 3), "squares.parquet")
    assert counts(manifest) == (3, 2, 1) and right(table, (2, 1, 3))
    assert table["maker"][:2].tolist() == [names[min(names)]] * 2


def test_a_program_that_leaves_rows_out_makes_no_artifact(workplace):
    with pytest.raises(
        RuntimeError, match=r"tests\.squares ended without an error, but 1 of 5 rows are not in pool squares/"
    ):
        workplace.made(step(1, 2, 3, 4, 5, leaves_out=4))
    assert workplace.store.manifests("squares") == []
    assert counts(workplace.made(step(1, 2, 3, 4, 5))) == (5, 4, 1)


def test_small_parts_are_joined_in_order_until_enough(monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 4)
    sizes = (1, 1, 3, 2, 7, 1, 1)
    numbers = iter(range(sum(sizes)))
    batches = [pa.record_batch({"number": [next(numbers) for _ in range(size)]}) for size in sizes]
    tables = [table["number"].to_pylist() for table in reading.join_small_batches(batches)]
    assert tables == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15]]
    assert [*reading.join_small_batches([])] == []
