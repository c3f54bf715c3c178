"""The small form of the measurement: stored files of 30,000 responses give the numbers of the plain loops."""

import pyarrow.parquet as pq

from tests.bench.economics import KINDS, NAMES, SAMPLES, make, measure
from tests.economics import naive


def read_plainly(root, kind: str, kept) -> list[naive.Row]:
    """The rows of the prompts that `kept` accepts, one file and row after the other."""
    prompts = pq.read_table(root / "prompts/prompts.parquet")["prompt_id"].to_pylist()
    number = {prompt: place for place, prompt in enumerate(prompts) if kept(place)}
    rows = []
    for source, name in enumerate(NAMES):
        scores = pq.read_table(root / f"{name}-{kind}" / "scores.parquet").to_pylist()
        by_content = {row["content_id"]: row["score"] for row in scores}
        for row in pq.read_table(root / name / "responses.parquet").to_pylist():
            if row["prompt_id"] in number:
                rows.append((number[row["prompt_id"]], source, by_content[row["content_id"]], row["tokens"]))
    return rows


def test_stored_files_give_the_numbers_of_the_plain_loops(tmp_path):
    make(tmp_path, 600)
    found = measure(tmp_path)
    names = list(NAMES)
    assert found["responses"] == 600 * len(NAMES) * SAMPLES == 30_000
    assert found["overall"] == naive.weigh(read_plainly(tmp_path, "reward", lambda place: True), names)
    second = read_plainly(tmp_path, "reward", lambda number: number % 3 == 1)
    assert found["categories"][str(KINDS[1])] == naive.weigh(second, names)
    assert found["jury"][0]["overall"] == naive.weigh(read_plainly(tmp_path, "juror", lambda place: True), names)
    one = [row for row in read_plainly(tmp_path, "reward", lambda place: True) if row[1] == 3]
    curve = [
        naive.expected_best([(prompt, 0, score, tokens) for prompt, _, score, tokens in one], 1, n) for n in (1, 2, 5)
    ]
    assert [found["sizes_by_source"][NAMES[3]][n - 1]["best"] for n in (1, 2, 5)] == curve
