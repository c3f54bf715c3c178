"""Pairwise ranking of models' answers: writes `comparisons.parquet`, a judge's raw reply to each pair in both orders.

LLM-Blender (arXiv 2306.02561) compares such pairs with PairRM, a model trained for it. Here the judge is any endpoint, and
the answer that wins most pairs (Copeland) is chosen. The judge gets no request for a degenerate answer, which loses to a
normal one, or for equal answers, which draw.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import pandas as pd
from pydantic import Field

from infra.errors import ProgramFailed
from infra.manifest import Manifest
from tasks.evaluation.degenerate import find_degenerate_answers
from tasks.evaluation.judged.judgements import JudgingHow, compute_request_id, obtain_replies
from tasks.evaluation.judged.questions import read_response_texts
from tasks.evaluation.judged.suites.files import fill_template
from tasks.execution import Run
from tasks.stage import Addressed, What, stage

Manifests = tuple[Manifest, ...]
REPLY_TOKENS = 4  # the reply is only a label
PARAMETERS = {"max_tokens": 16, "temperature": 0.0}
PAIR_INSTRUCTION = (
    "Two assistants answered the last message of the conversation below. Say which answer is better: more helpful, correct "
    "and complete. Neither its length nor the order in which the answers stand counts for an answer. Write nothing but "
    "[[A]], [[B]], or [[C]] if they are equally good.\n\n"
    "[Conversation]\n{conversation}\n\n[Answer of assistant A]\n{first}\n\n[Answer of assistant B]\n{second}"
)
POINTS = {"A": 1.0, "B": 0.0, "C": 0.5}  # of the first answer


class Comparing(What):
    members: tuple[str, ...] = Field(min_length=2)
    model: str = Field(min_length=1, description="the judge's name at its endpoint")
    revision: str = ""
    unanswered: float = Field(default=0.01, ge=0, le=1, description="largest allowed share of games without a reply")


def make_comparison_pool_key(what: Comparing, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    return {"model": what.model, "revision": what.revision}


@stage("pairwise comparison", version="2", rows=make_comparison_pool_key, rows_since="1")
def compare_answers(run: Run, what: Comparing, how: JudgingHow, prompts: Manifests, responses: Manifests) -> None:
    rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    dialogues = dict(zip(rows["prompt_id"], rows["messages"], strict=True))
    games = pd.DataFrame(make_pair_games(what, dialogues, [read_response_texts(run, made) for made in responses]))
    games = games.astype({"points": float, "request": object, "body": object})
    replies, reasons = obtain_replies(run, how, games.dropna(subset="request").drop_duplicates("request"), REPLY_TOKENS)
    games = games.drop(columns="body").merge(replies, on="request", how="left")
    missing = games["request"].notna() & games["reply"].isna()
    if (share := missing.mean()) > what.unanswered:
        first = reasons.get(games.loc[missing, "request"].iloc[0])
        raise ProgramFailed(
            f"{missing.sum()} of {len(games)} games ({share:.1%}) got no reply; reason of the first: {first}"
        )
    games.to_parquet(run.folder / "comparisons.parquet", index=False)
    run.count(
        rows=len(games),
        asked=int(games["request"].notna().sum()),
        unanswered=int(missing.sum()),
        **count_doubtful_replies(games),
    )


def make_pair_games(what: Comparing, dialogues: dict[str, list], answers: list[dict[str, str]]) -> Iterator[dict]:
    """Each pair of answers to a prompt in both orders, with the request to the judge, or with points if no request is needed.
    `answers`: each member's answers by prompt."""
    degenerate = [
        find_degenerate_answers({prompt: (text,) for prompt, text in by_prompt.items()}) for by_prompt in answers
    ]
    for prompt in sorted(set().union(*answers)):
        answering = [place for place, by_prompt in enumerate(answers) if prompt in by_prompt]
        for pair in itertools.combinations(answering, 2):
            for first, second in (pair, pair[::-1]):
                shown = [answers[first][prompt], answers[second][prompt]]
                game = {"prompt_id": prompt, "first": first, "second": second}
                bad = [prompt in degenerate[place] for place in (first, second)]
                if any(bad) or shown[0] == shown[1]:
                    yield game | {"points": 0.5 + 0.5 * (bad[1] - bad[0]), "request": None, "body": None}
                    continue
                body = {"model": what.model, "messages": [make_pair_question(dialogues[prompt], *shown)], **PARAMETERS}
                written = json.dumps(body, ensure_ascii=False)
                yield game | {"points": None, "request": compute_request_id(body, what.revision), "body": written}


def make_pair_question(turns: Sequence[Mapping[str, str]], first: str, second: str) -> dict[str, str]:
    conversation = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return {
        "role": "user",
        "content": fill_template(PAIR_INSTRUCTION, conversation=conversation, first=first, second=second),
    }


def read_points(reply: str | None) -> float | None:
    """Points of the first answer by the judge's label; None if the reply has no label or several different ones."""
    labels = set(re.findall(r"\[\[([ABC])\]\]", json.loads(reply)["content"])) if isinstance(reply, str) else set()
    return POINTS[labels.pop()] if len(labels) == 1 else None


def count_doubtful_replies(games: pd.DataFrame) -> dict[str, int]:
    """Counts of replies without a label (the pair draws), and of replies for the first answer among all that prefer an
    answer. If the latter differ from one half, the judge has a position bias."""
    read = games.loc[games["reply"].notna(), "reply"].map(read_points).astype(float)
    return {
        "unreadable": int(read.isna().sum()),
        "decided": int((read != 0.5).sum() - read.isna().sum()),
        "for_the_first": int((read == 1).sum()),
    }


def compute_copeland_scores(games: pd.DataFrame) -> pd.DataFrame:
    """prompt_id, place, score: the number of pairs that each answer wins; a draw counts a half.

    The two games of a pair are averaged. A pair without readable replies is a draw."""
    read = games["points"].where(games["request"].isna(), games["reply"].map(read_points)).astype(float)
    is_reversed = games["first"] > games["second"]
    low, high = games[["first", "second"]].min(axis=1), games[["first", "second"]].max(axis=1)
    of_low = pd.DataFrame(
        {"prompt_id": games["prompt_id"], "low": low, "high": high, "points": read.where(~is_reversed, 1 - read)}
    )
    pairs = of_low.groupby(["prompt_id", "low", "high"])["points"].mean().fillna(0.5).reset_index()
    won = 0.5 + 0.5 * (pairs["points"] > 0.5) - 0.5 * (pairs["points"] < 0.5)
    both = [
        pairs[["prompt_id"]].assign(place=pairs[side], score=score) for side, score in (("low", won), ("high", 1 - won))
    ]
    return cast(pd.DataFrame, pd.concat(both).groupby(["prompt_id", "place"], as_index=False)["score"].sum())
