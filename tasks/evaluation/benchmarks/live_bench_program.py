"""Program, run in LiveBench's environment: scores each answer with its authors' code; writes OUT/items.parquet."""

import json
from pathlib import Path

import pandas as pd
from livebench.common import MatchSingle  # pyright: ignore[reportMissingImports]
from livebench.gen_ground_truth_judgment import play_a_match_gt  # pyright: ignore[reportMissingImports]

from tasks.program import Progress, run_program


def main(job: dict, out: Path, progress: Progress) -> dict:
    rows, items = pd.read_parquet(job["rows"]), []
    for place, (question, answer) in enumerate(zip(rows["question"].map(json.loads), rows["answer"], strict=True)):
        match = MatchSingle(question, "model", {"choices": [{"turns": [answer]}]})
        score = play_a_match_gt(match, output_file=None)["score"]
        labels = {name: str(question[name]) for name in ("category", "task")}
        items.append({**labels, "item": str(question["question_id"]), "value": float(score)})
        progress(place + 1, len(rows), "answers")
    pd.DataFrame(items).to_parquet(out / "items.parquet", index=False)
    return {"rows": len(items)}


if __name__ == "__main__":
    run_program(main)
