"""The counts of FuseChat-3.0's instruction following sets: 4 : 6 exactly, one pair a prompt, N counted after pair filtering."""

from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.pairs.rules import Gap, SameSource
from tasks.pairs.stage import Pairs, build_pairs
from tasks.records import MESSAGES
from tasks.splits.stage import ByCategory, split_prompts
from tasks.stage import How
from tests.pairs.worlds import Files

# prompts, SFT and DPO, of its README as corrected in February 2025
PUBLISHED = {
    "UltraFeedback": (51098, 20439, 30659),
    "Magpie-Pro-DPO": (20374, 8149, 12225),
    "HelpSteer2": (9435, 3774, 5661),
}
TEST = 100  # prompts of a set that is held out as a whole: FuseChat-3.0 holds out none of its own
EVERY = 7  # beside so many prompts that leave a pair stands one whose gap lies outside of the window


def test_the_published_counts_come_out_of_sets_of_the_published_sizes(tmp_path):
    run = Files(tmp_path)
    rule = Pairs(sources=("only",), rule=SameSource(kind="same-source", gap=Gap(low=0.01, high=0.1)))
    inputs = {"prompts": ("prompts",), "responses": ("only",), "scores": ("only",)}
    make(run)
    build_pairs.work(run, rule, How(), **inputs)
    (run.folder / "pairs.parquet").rename(run.file("before", "pairs.parquet"))
    what = ByCategory(kind="by-category", held_out=0.0, sft=0.4, pairable=tuple(PUBLISHED), seed=5)
    split_prompts.work(run, what, How(), prompts=("prompts",), pairs=("before",))
    (run.folder / "splits.parquet").rename(run.file("splits", "splits.parquet"))
    build_pairs.work(run, rule, How(), **inputs, splits=("splits",))

    category = pq.read_table(run.file("prompts", "prompts.parquet"), columns=["prompt_id", "category"])
    counted = lambda table: {
        entry["values"]: entry["counts"]
        for entry in table.join(category, "prompt_id")["category"].value_counts().to_pylist()
    }
    parts = pq.read_table(run.file("splits", "splits.parquet"))
    pairs = pq.read_table(run.folder / "pairs.parquet", columns=["prompt_id"])
    assert counted(parts.filter(pc.equal(parts["part"], "sft"))) == {
        name: sft for name, (_, sft, _) in PUBLISHED.items()
    }
    assert counted(pairs) == {name: pair for name, (_, _, pair) in PUBLISHED.items()}
    assert pc.count_distinct(pairs["prompt_id"]).as_py() == len(pairs)


def make(run: Files) -> None:
    """Two responses of one source to each prompt, 0.05 apart, or 0.5 apart in the prompts that leave no pair."""
    rows = []
    for name, (size, _, _) in PUBLISHED.items():
        rows += [(name, 0.05)] * size + [(name, 0.5)] * (size // EVERY)
    rows += [("test", 0.05)] * TEST
    ids = [sha256(str(number).encode()).hexdigest() for number in range(len(rows))]
    parts = ["held_out" if name == "test" else None for name, _ in rows]
    prompts = {"prompt_id": ids, "category": [name for name, _ in rows], "part": pa.array(parts, pa.string())}
    messages = pa.array([[{"role": "user", "content": "?"}]] * len(ids), MESSAGES)
    pq.write_table(pa.table({**prompts, "messages": messages}), run.file("prompts", "prompts.parquet"))
    content = [f"{prompt[:39]}{sample}" for prompt in ids for sample in (0, 1)]
    responses = {
        "prompt_id": [prompt for prompt in ids for _ in (0, 1)],
        "sample_index": pa.array([0, 1] * len(ids), pa.int32()),
        "text": ["better", "worse"] * len(ids),
        "content_id": content,
        "tokens": pa.array([2] * len(content), pa.int32()),
        "finish_reason": ["stop"] * len(content),
    }
    pq.write_table(pa.table(responses), run.file("only", "responses.parquet"))
    scores = {"content_id": content, "score": [score for _, gap in rows for score in (gap, 0.0)]}
    pq.write_table(pa.table(scores), run.file("only", "scores.parquet"))
