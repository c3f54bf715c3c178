"""Program: scores from the user's own program. For each row the user's program gets a line of JSON on standard input:
`prompt` (the last user turn), `messages`, `response` and `answer` (the prompt's gold, or null). For each line, in the same
order, it writes a number, `{"score": number}` or `{"reason": "why there is none"}`.

JOB {model, rows, what, how, threads}; writes OUT/part-*.parquet.
"""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from infra.errors import BadInput
from infra.settings import allowed_environment
from tasks.program import Progress, run_program
from tasks.records import SCORE
from tasks.rows.parts import Rows, write_in_parts


def score_by_program(job: dict, out: Path, progress: Progress) -> dict:
    folder = Path(job["model"])
    (program,) = (folder / "program").iterdir()
    command = [word.replace("{program}", str(program)) for word in json.loads((folder / "command.json").read_text())]
    rows, patience = pq.read_table(job["rows"]).to_pylist(), job["how"]["timeout"]
    write_in_parts(
        rows, job["how"], SCORE, out, progress, lambda batch: run_user_program(command, program.name, batch, patience)
    )
    return {}


def run_user_program(command: list[str], name: str, rows: Rows, patience: float) -> Rows:
    """Runs the user's program once for a batch of rows."""
    lines = "".join(json.dumps(row_question(row), ensure_ascii=False) + "\n" for row in rows)
    try:
        ended = subprocess.run(
            command,
            input=lines.encode("utf-8", "replace"),
            capture_output=True,
            timeout=patience,
            env=allowed_environment(),
        )
    except OSError as problem:
        raise BadInput(f"reward.model.command: {command} cannot be started: {problem}") from problem
    except subprocess.TimeoutExpired as problem:
        first = rows[0]["content_id"]
        raise BadInput(
            f"{name}: did not end within {patience:g} s for {len(rows)} rows from content {first}; see how.scoring.timeout"
        ) from problem
    if ended.returncode:
        raise BadInput(f"{name}: ended with code {ended.returncode}: {last_line(ended.stderr)}")
    answers = ended.stdout.decode(errors="replace").removesuffix("\n").split("\n") if ended.stdout else []
    if len(answers) != len(rows):
        raise BadInput(
            f"{name}: wrote {len(answers)} lines for {len(rows)} rows, the first of content {rows[0]['content_id']}"
        )
    return [check_score(row["content_id"], answer, name) for row, answer in zip(rows, answers, strict=True)]


def row_question(row: dict) -> dict:
    prompt = row["messages"][-1]["content"]
    return {"prompt": prompt, "messages": row["messages"], "response": row["text"], "answer": row["gold"]}


def check_score(content: str, answer: str, name: str) -> dict:
    row = {"content_id": content, "score": None, "tokens": None, "truncated": False, "reason": None}
    try:
        parsed = json.loads(answer)
    except (ValueError, RecursionError) as problem:
        raise BadInput(f"{name}: its answer for content {content} is not JSON: {answer[:80]!r}") from problem
    match parsed:
        case {"reason": str(reason)}:
            return row | {"reason": reason}
        case {"score": value} | value if is_number(value):
            return row | {"score": float(value)}
    raise BadInput(f"{name}: the score of content {content} is {answer[:80]}")


def is_number(value: object) -> bool:
    """True for a JSON number that fits in a float; JSON integers can be larger."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def last_line(output: bytes) -> str:
    return next(reversed(output.decode(errors="replace").split("\n")[-3:-1]), "no error message")[:200]


if __name__ == "__main__":
    run_program(score_by_program)
