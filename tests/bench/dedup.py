"""How long duplicates and contamination take: 60,000 prompts near-deduplicated, checked against 7,000 benchmark items.

python -m tests.bench.dedup [PROMPTS] [ITEMS]
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from tasks.prompts import select
from tests.prompts.texts import Writer


def main(prompts: int = 60_000, items: int = 7_000) -> None:
    folder = Path(tempfile.mkdtemp())
    writer = Writer(1, median=60, spread=1.0)
    texts = writer.texts(prompts * 9 // 10)
    again = [writer.thinned(text, 0.02) for text in writer.source.sample(texts, prompts - len(texts))]
    benchmark = Writer(2).texts(items)
    write(folder / "prompts.jsonl", "prompt", texts + again)
    write(folder / "items.jsonl", "text", benchmark)
    words = sum(text.count(" ") + 1 for text in texts + again)
    source = {"kind": "file", "sha256": "any"}
    against = {"benchmarks": [{"name": "bench", "sha256": "any", "text": "text"}]}
    what = {
        "kind": "sets",
        "sets": [{"name": "all", "source": source}],
        "near_duplicates": {},
        "decontamination": against,
    }
    job = {
        "what": what,
        "sets": {"all": str(folder / "prompts.jsonl")},
        "benchmarks": {"bench": str(folder / "items.jsonl")},
    }
    before, start = peak(), time.perf_counter()
    counts = select.main(job, folder, lambda *_: None)
    seconds = time.perf_counter() - start
    print(f"{prompts:,} prompts of {words / prompts:.0f} words, {items:,} items: {counts}")
    print(f"{seconds:.1f} s from file to file, peak {peak():.0f} MiB ({before:.0f} MiB before, texts in memory)")


def write(file: Path, column: str, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({column: text}) + "\n" for text in texts))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
