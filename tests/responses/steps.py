"""Sampling steps with stand-ins for what comes before them: prompts as the test writes them, a model in a folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.execution import Run
from tasks.records import PROMPT, prompt_id
from tasks.responses.engines import Engine
from tasks.responses.settings import Sampling
from tasks.responses.stage import sample_responses
from tasks.stage import How, Step, What, stage

QUESTIONS = ("a", "what is it?", "sort: hgfedcba", "x" * 30, "why", "no?", "yes and no", "of all", "more?")


class Texts(What):
    texts: tuple[str, ...]
    category: str = ""
    responses: tuple[str, ...] = ()


class Named(What):
    kind: str
    seed: int = 0


class At(How):
    folder: str = ""


@stage("stand-in prompts", version="1")
def given_prompts(run: Run, what: Texts, how: How) -> None:
    responses = what.responses or [None] * len(what.texts)
    turns = [[{"role": "user", "content": text}] for text in what.texts]
    rows = [
        {"prompt_id": prompt_id(each), "messages": each, "category": text.split()[0], "response": response}
        for each, text, response in zip(turns, what.texts, responses, strict=True)
    ]
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["prompt_id"]), PROMPT)
    pq.write_table(table, run.folder / "prompts.parquet")


@stage("stand-in model", version="1")
def given_model(run: Run, what: Named, how: At) -> None:
    if how.folder:
        shutil.copytree(Path(how.folder), run.folder / "model")
    elif what.kind == "served":
        (run.folder / "served.json").write_text("{}")
    else:
        from tests import tiny  # loads torch, which most tests need not

        tiny.folder(run.folder / "model", seed=what.seed)


def model(folder: str = "", kind: str = "stand-in", seed: int = 0) -> Step:
    return given_model(what=Named(kind=kind, seed=seed), how=At(folder=folder))


def sampled(
    engine: Engine, texts: tuple[str, ...] = QUESTIONS, made_by: Step | None = None, responses: tuple = (), **sampling
) -> Step:
    what = Sampling(**{"n": 2, "max_new_tokens": 8, "seed": 3, **sampling})
    prompts = given_prompts(what=Texts(texts=texts, responses=responses))
    return sample_responses("per-model sampling · s", prompts=prompts, model=made_by or model(), what=what, how=engine)


def ids(texts: tuple[str, ...]) -> dict[str, str]:
    """text -> prompt_id"""
    return {text: prompt_id([{"role": "user", "content": text}]) for text in texts}
