"""Mixture of Agents (arXiv 2406.04692), one layer: a model reads what others answered, and answers itself.

`put_together` leaves the prompts that it is asked, in the authors' words, and `asked.parquet`, whose prompt each one is;
`adopt_answers` leaves its answers under the prompts that were meant.
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
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    said = [first_answers(run, made) for made in responses]
    answers = pd.concat(said, axis=1, join="inner")  # what every member answered
    asked = asked[asked["prompt_id"].isin(answers.index)].sort_values("prompt_id")
    turns = [
        with_answers(list(messages), list(answers.loc[prompt]))
        for prompt, messages in zip(asked["prompt_id"], asked["messages"], strict=True)
    ]
    table = pd.DataFrame({"prompt_id": [prompt_id(one) for one in turns], "messages": turns, "category": "mixture"})
    pd.DataFrame({"prompt_id": list(asked["prompt_id"]), "asked_id": table["prompt_id"]}).to_parquet(
        run.folder / "asked.parquet", index=False
    )
    run.count(rows=len(table))
    write(run, table.sort_values("prompt_id").reindex(columns=PROMPT.names), PROMPT, "prompts.parquet")


def first_answers(run: Run, made: Manifest) -> pd.Series:
    rows = pd.read_parquet(run.file(made, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    return rows[rows["sample_index"] == 0].set_index("prompt_id")["text"]


def with_answers(turns: Turns, answers: list[str]) -> Turns:
    """The conversation, the answers being told by the system, after what it said before if it said anything."""
    told = READ + "".join(f"\n{place}. {answer}" for place, answer in enumerate(answers, 1))
    if turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{told}"}, *turns[1:]]
    return [{"role": "system", "content": told}, *turns]


@stage("mixture answers", version="1")
def adopt_answers(run: Run, what: What, how: How, asked: Manifests, responses: Manifests) -> None:
    meant = pd.read_parquet(run.file(asked[0], "asked.parquet"))
    rows = pd.read_parquet(run.file(responses[0], "responses.parquet")).rename(columns={"prompt_id": "asked_id"})
    rows = meant.merge(rows, on="asked_id", validate="one_to_one").sort_values("prompt_id")
    rows["content_id"] = [content_id(*pair) for pair in zip(rows["prompt_id"], rows["text"], strict=True)]
    run.count(rows=len(rows), tokens=int(rows["tokens"].sum()))
    write(run, rows.reindex(columns=RESPONSE.names), RESPONSE, "responses.parquet")
