"""Small worlds of prompts and scored responses, full of ties and holes, as files that the stages read; and a Run's stand-in."""

import random
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
    """prompt id -> category, part, the response given with it, and what each model said. Hypothesis chooses the size and a
    seed: choosing every word itself it would try poorer worlds, ten times slower."""
    source, prompts = random.Random(draw(st.integers(0, 2**32))), {}
    for number in range(draw(st.integers(1, 12))):
        messages = [{"role": "user", "content": f"question {number}"}]
        prompts[prompt_id(messages)] = {
            "messages": messages,
            "category": source.choice(CATEGORIES),
            "response": source.choice([None, "given\n"]),
            "part": source.choice(["preference", "preference", "preference", "sft", "sft", "held_out"]),
            "said": said(source),
        }
    return prompts


def said(source: random.Random) -> dict:
    """What each model said to one prompt: up to four samples, from a few words, whose scores are fewer still."""
    words = source.sample("abcdefgh\r\n", source.randint(2, 8))
    score = {word: source.choice([None, 0.0, 0.1, 0.25, 0.25, 0.3, 0.6, 1.0]) for word in words}
    batch = lambda word: (
        None if source.random() < 0.1 or score[word] is None else score[word] + source.choice([0, 0, 1e-12])
    )
    heard = {name: {word: batch(word) for word in words} for name in (*SOURCES, "own")}
    check = {word: source.choice([None, 0.0, 0.0, 1.0, 1.0, 1.0]) for word in words}
    return {
        name: [
            {
                "text": word,
                "tokens": ord(word) % 4,
                "sample_index": index,
                "score": heard[name][word],
                "check": check[word],
                "finish_reason": source.choice(["stop", "stop", "length"]),
            }
            for index in source.sample(range(4), source.choice([0, 1, 2, 3, 3, 4]))
            for word in [source.choice(words)]
        ]
        for name in (*SOURCES, "own")
    }


def responses(world, part):
    """As the naive rules want them: prompt -> (of the sources, its own). The same words have one score, the first source's;
    in the world they differ in the last bits, as batches make them."""
    with_names = lambda one, names: [
        {**response, "source": name, "priority": place}
        for place, name in enumerate(names)
        for response in one["said"][name]
    ]
    return {
        prompt: (with_one_score(with_names(one, SOURCES)), with_names(one, ("own",)))
        for prompt, one in world.items()
        if part in (None, one["part"])
    }


def with_one_score(responses):
    first = {}
    for one in responses:
        if one["score"] is not None:
            first.setdefault(one["text"], one["score"])
    return [{**one, "score": first.get(one["text"])} for one in responses]


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
