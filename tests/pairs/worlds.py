"""Small worlds of prompts and scored responses, full of ties and holes, as files that the stages read; and a Run's stand-in."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tasks.records import PROMPT, RESPONSE, SCORE, SPLIT, content_id, prompt_id

SOURCES = ("north", "south", "west")
CATEGORIES = ("talk", "sums", "rest")


class Files:
    """Stands for a Run over plain tables: hands out files, takes counts. The store has tests of its own."""

    def __init__(self, folder: Path):
        self.root, self.folder, self.counts = folder, folder / "out", {}
        self.folder.mkdir()

    def file(self, manifest, name):
        return self.root / f"{manifest}-{name}"

    def count(self, **numbers):
        self.counts.update(numbers)

    def put(self, manifest, name, rows, schema):
        pq.write_table(pa.Table.from_pylist(rows, schema), self.file(manifest, name))


@st.composite
def worlds(draw):
    """prompt id -> category, response given with it, and what each model said: at most three samples of a few words."""
    prompts = {}
    for number in range(draw(st.integers(1, 7))):
        words = draw(st.lists(st.sampled_from("abcde\r\n"), min_size=2, max_size=4, unique=True))
        score = {word: draw(st.sampled_from([None, 0.0, 0.25, 0.3, 1.0])) for word in words}
        check = {word: draw(st.sampled_from([None, 0.0, 1.0, 1.0, 0.0])) for word in words}
        said = {
            name: [
                {
                    "text": word,
                    "tokens": ord(word[0]) % 4,
                    "sample_index": index,
                    "score": score[word],
                    "check": check[word],
                }
                for index, word in draw(
                    st.lists(
                        st.tuples(st.integers(0, 3), st.sampled_from(words)), max_size=3, unique_by=lambda one: one[0]
                    )
                )
            ]
            for name in (*SOURCES, "own")
        }
        messages = [{"role": "user", "content": f"question {number}"}]
        prompts[prompt_id(messages)] = {
            "messages": messages,
            "category": draw(st.sampled_from(CATEGORIES)),
            "response": draw(st.sampled_from([None, "given\n"])),
            "part": draw(st.sampled_from(["preference", "preference", "sft", "sft", "held_out"])),
            "said": said,
        }
    return prompts


def responses(world, part):
    """As the naive rules want them: prompt -> (of the sources, its own)."""
    with_names = lambda one, names: [
        {**response, "source": name, "priority": place}
        for place, name in enumerate(names)
        for response in one["said"][name]
    ]
    return {
        prompt: (with_names(one, SOURCES), with_names(one, ("own",)))
        for prompt, one in world.items()
        if part in (None, one["part"])
    }


def write(world, folder: Path) -> tuple[Files, dict]:
    """The artifacts of a world, and the inputs of a stage that reads all of them."""
    run = Files(folder)
    prompts = [{"prompt_id": prompt, **one} for prompt, one in sorted(world.items())]
    run.put("prompts", "prompts.parquet", prompts, PROMPT)
    run.put("splits", "splits.parquet", prompts, SPLIT)
    for name in (*SOURCES, "own"):
        rows = [
            {"prompt_id": prompt, "content_id": content_id(prompt, said["text"]), **said}
            for prompt, one in world.items()
            for said in one["said"][name]
        ]
        run.put(
            name, "responses.parquet", sorted(rows, key=lambda row: row["content_id"]), RESPONSE
        )  # an order of no use
        for manifest, column in ((name, "score"), (f"{name}-checks", "check")):
            known = {row["content_id"]: row[column] for row in rows if row[column] is not None}
            scores = [{"content_id": content, "score": value} for content, value in sorted(known.items())]
            run.put(manifest, "scores.parquet", scores, SCORE)
    checks = tuple(f"{name}-checks" for name in SOURCES)
    inputs = {"prompts": ("prompts",), "splits": ("splits",), "responses": SOURCES, "scores": SOURCES, "checks": checks}
    return run, inputs
