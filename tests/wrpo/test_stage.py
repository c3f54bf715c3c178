"""What WRPO's training asks of its records before anything heavy starts."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import BadInput
from tasks.records import PREFERENCE_RECORD
from tasks.wrpo.stage import refuse_incomplete


def test_records_of_a_rule_that_leaves_no_own_responses_are_refused(tmp_path):
    triple = {"source_best": "ws", "own_best": "wt", "own_worst": "l"}
    file = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist([triple, triple], PREFERENCE_RECORD), file)
    refuse_incomplete("wrpo", file)
    pq.write_table(pa.Table.from_pylist([triple, {"source_best": "w", "source_worst": "l"}], PREFERENCE_RECORD), file)
    with pytest.raises(BadInput, match="needs own_best in every record, and 1 of 2 have none"):
        refuse_incomplete("wrpo", file)
