"""Mixture of Agents (arXiv 2406.04692), one layer: a model reads the other models' answers, then writes its answer.

`put_together` writes the prompts with the answers in them (the authors' instruction) and `asked.parquet`, which maps them to
the original prompts. `adopt_answers` writes the model's responses under the original prompts.
"""

import pandas as pd

from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import PROMPT, RESPONSE, content_id, prompt_id
from tasks.rows.pool import write
from tasks.stage import How, What, stage

Manifests = tuple[Manifest, ...]
Turns = list[dict[str, str]]
READ = (
    "You have been provided with a set of responses from various open-source models to the latest user query. Your task is "
    "to synthesize these responses into a single, high-quality response. It is crucial to critically evaluate the "
    "information provided in these responses, recognizing that some of it may be biased or incorrect. Your response should "
    "not simply replicate the given answers but should offer a refined, accurate, and comprehensive reply to the "
    "instruction. Ensure your response is well-structured, coherent, and adheres to the highest standards of accuracy and "
    "reliability.\n\nResponses from models:"
)


@stage("answers together", version="1")
def put_together(run: Run, what: What, how: How, prompts: Manifests, responses: Manifests) -> None:
    originals = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    by_member = [first_answers(run, made) for made in responses]
    answers = pd.concat(by_member, axis=1, join="inner")  # only prompts that all members answered
    originals = originals[originals["prompt_id"].isin(answers.index)].sort_values("prompt_id")
    dialogues = [
        with_answers(list(messages), list(answers.loc[prompt]))
        for prompt, messages in zip(originals["prompt_id"], originals["messages"], strict=True)
    ]
    ids = [prompt_id(turns) for turns in dialogues]
    table = pd.DataFrame({"prompt_id": ids, "messages": dialogues, "category": "mixture"})
    pd.DataFrame({"prompt_id": list(originals["prompt_id"]), "asked_id": table["prompt_id"]}).to_parquet(
        run.folder / "asked.parquet", index=False
    )
    run.count(rows=len(table))
    write(run, table.sort_values("prompt_id").reindex(columns=PROMPT.names), PROMPT, "prompts.parquet")


def first_answers(run: Run, made: Manifest) -> pd.Series:
    rows = pd.read_parquet(run.file(made, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    return rows[rows["sample_index"] == 0].set_index("prompt_id")["text"]


def with_answers(turns: Turns, answers: list[str]) -> Turns:
    """Adds the answers to the system message, after its text if there is one."""
    instruction = READ + "".join(f"\n{place}. {answer}" for place, answer in enumerate(answers, 1))
    if turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{instruction}"}, *turns[1:]]
    return [{"role": "system", "content": instruction}, *turns]


@stage("mixture answers", version="1")
def adopt_answers(run: Run, what: What, how: How, asked: Manifests, responses: Manifests) -> None:
    originals = pd.read_parquet(run.file(asked[0], "asked.parquet"))
    rows = pd.read_parquet(run.file(responses[0], "responses.parquet")).rename(columns={"prompt_id": "asked_id"})
    rows = originals.merge(rows, on="asked_id", validate="one_to_one").sort_values("prompt_id")
    rows["content_id"] = [content_id(*pair) for pair in zip(rows["prompt_id"], rows["text"], strict=True)]
    run.count(rows=len(rows), tokens=int(rows["tokens"].sum()))
    write(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")
