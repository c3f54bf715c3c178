"""Program: checks which responses are correct. Programs run in the sandbox; workers with a time limit compare answers.

JOB {rows, what, how, threads}; writes OUT/part-*.parquet.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pyarrow.parquet as pq

from tasks.checks.cases import Cases
from tasks.checks.gold import find_suite
from tasks.checks.packages import copy_packages
from tasks.checks.sandbox import outside as sandbox
from tasks.checks.sandbox.outside import Sandbox
from tasks.checks.scripts import judge_script
from tasks.checks.verdicts import Limits, ProgramTests, Verdict, judge_response
from tasks.checks.worker import Worker
from tasks.program import Progress, run_program
from tasks.records import CHECK
from tasks.rows.parts import write_part

SCORES = {"passed": 1.0, "failed": 0.0, "error": 0.0, "timeout": 0.0, "unchecked": None}


def check_rows(job: dict, out: Path, progress: Progress) -> dict:
    rows, what, threads = pq.read_table(job["rows"]).to_pylist(), job["what"], job["threads"]
    limits = Limits(what["seconds"], what["memory_megabytes"])
    read = Exactly if what["kind"] == "exact" else read_gold
    kinds = {gold: read(gold) for gold in {row["gold"] for row in rows}}
    with ExitStack() as stack:
        box, versions = None, {}
        if any(isinstance(kind, ProgramTests | Cases) for kind in kinds.values()):
            offered = out / "packages" if what["packages"] else None
            versions = copy_packages(what["packages"], offered) if offered else {}
            box = stack.enter_context(sandbox.find_sandbox(job["how"]["sandboxes"], offered))
        workers: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(threads if read is read_gold else 0):
            workers.put(Worker("tasks.checks.answers", what["answer_seconds"], out))
            stack.callback(lambda: workers.get().end())
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        kinds = dict(zip(kinds, pool.map(lambda kind: refute(kind, box, limits), kinds.values()), strict=True))
        size = job["how"]["batch_size"]
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            found = pool.map(lambda row: check_row(row, kinds[row["gold"]], box, limits, workers), batch)
            write_part(list(found), CHECK, out / f"part-{start:09d}.parquet")
            progress(min(start + size, len(rows)), len(rows))
    ran = sum(isinstance(kinds[row["gold"]], ProgramTests | Cases) for row in rows)
    return {f"ran_in_{box.means}": ran, **{f"version_of_{name}": one for name, one in versions.items()}} if box else {}


@dataclass(frozen=True)
class Exactly:
    """A gold that the response must equal as text, apart from white space around it."""

    text: str


Kind = ProgramTests | Cases | str | Verdict | Exactly


def read_gold(gold: str) -> Kind:
    """Returns tests, or the right answer, or the verdict "unchecked" with a reason if the gold is invalid."""
    try:
        return find_suite(gold) or gold
    except ValueError as problem:
        return Verdict("unchecked", reason=str(problem))


def refute(kind: Kind, box: Sandbox | None, limits: Limits) -> Kind:
    """Runs the data set's own solution against its tests. If it fails, the tests are not used: they or the solution are wrong."""
    if not isinstance(kind, ProgramTests) or not kind.solution:
        return kind
    assert box is not None  # check_rows starts a sandbox if any gold is tests
    found = judge_response(box, kind.solution, kind, limits)
    reason = f"the data set's own solution does not pass its tests: {found.verdict} {found.reason}".rstrip()
    return kind if found.verdict == "passed" else Verdict("unchecked", reason=reason)


def check_row(row: dict, kind: Kind, box: Sandbox | None, limits: Limits, workers: SimpleQueue) -> dict:
    name = "math" if isinstance(kind, str) else "exact" if isinstance(kind, Exactly) else "code"
    match kind:
        case Exactly(text):
            same = row["text"].strip() == text.strip()
            verdict = Verdict("passed" if same else "failed", int(same), 1)
        case ProgramTests():
            assert box is not None
            verdict = judge_response(box, row["text"], kind, limits)
        case Cases():
            assert box is not None
            verdict = judge_script(box, row["text"], kind, limits)
        case Verdict():
            verdict = kind
        case _:
            verdict = compare_answer(row["text"], kind, workers)
    found = {"verdict": verdict.verdict, "passed": verdict.passed, "total": verdict.total, "reason": verdict.reason}
    score = None if name == "math" and verdict.verdict in ("error", "timeout") else SCORES[verdict.verdict]
    return {"content_id": row["content_id"], "gold_id": row["gold_id"], "score": score, "kind": name, **found}


def compare_answer(text: str, gold: str, workers: SimpleQueue) -> Verdict:
    """Compares an answer in a worker. After a timeout or crash the row is neither right nor wrong."""
    worker = workers.get()
    try:
        right = worker.ask({"text": text, "gold": gold})["correct"]
        return Verdict("passed" if right else "failed", int(right), 1)
    except TimeoutError:
        return Verdict("timeout", 0, 1, "the comparison was not done in time")
    except ChildProcessError as problem:
        return Verdict("error", 0, 1, f"the comparison failed: {problem}")
    finally:
        workers.put(worker)


if __name__ == "__main__":
    run_program(check_rows)
