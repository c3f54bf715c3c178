"""Parts are closed by time: what a kill may cost is what was made since."""

import pyarrow.parquet as pq

from tasks.rows.parts import Parts
from tests.squares import SCHEMA


def row(number: int) -> dict:
    return {"number": number, "square": number**2, "place": 0, "maker": "", "tokens": 1}


def test_a_part_is_closed_when_old_and_holds_every_row_since(tmp_path):
    now = 0.0
    parts = Parts(SCHEMA, tmp_path, seconds=45, clock=lambda: now)
    for number in range(100):
        now += 10
        parts.add([row(number)])
    files = sorted(tmp_path.glob("part-*.parquet"))
    assert [pq.read_metadata(file).num_rows for file in files] == [5] * 20 and parts.count == 100
    parts.add([row(100)])
    parts.close()
    parts.close()  # nothing is left: no empty part
    numbers = [n for file in sorted(tmp_path.glob("part-*.parquet")) for n in pq.read_table(file)["number"].to_pylist()]
    assert numbers == [*range(101)] and parts.count == 101


def test_no_row_waits_longer_than_a_minute_for_its_part(tmp_path):
    from tasks.responses.engines import Transformers

    assert Transformers().part_seconds < 60
