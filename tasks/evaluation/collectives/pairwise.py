"""Pairwise ranking of several models' answers: leaves `comparisons.parquet`, a judge's raw reply to every pair in both orders.

LLM-Blender (arXiv 2306.02561) ranks by such pairs with a model trained for it, PairRM; here the judge is whatever endpoint
answers, and the most pairs won (Copeland) decide. A degenerate answer loses to one in order, equal ones draw: unasked.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from pydantic import Field

from infra.errors import ProgramFailed
from infra.manifest import Manifest
from tasks.evaluation.degenerate import flags
from tasks.evaluation.judged.judgements import JudgingHow, replies_to, request_id
from tasks.evaluation.judged.suites.files import filled
from tasks.execution import Run
from tasks.stage import Addressed, What, stage

Manifests = tuple[Manifest, ...]
REPLY_TOKENS = 4  # it is asked for a label alone
PARAMETERS = {"max_tokens": 16, "temperature": 0.0}
ASK = (
    "Two assistants answered the last message of the conversation below. Say which answer is better: more helpful, correct "
    "and complete. Neither its length nor the order in which the answers stand counts for an answer. Write nothing but "
    "[[A]], [[B]], or [[C]] if they are equally good.\n\n"
    "[Conversation]\n{conversation}\n\n[Answer of assistant A]\n{first}\n\n[Answer of assistant B]\n{second}"
)
POINTS = {"A": 1.0, "B": 0.0, "C": 0.5}  # of the first


class Comparing(What):
    members: tuple[str, ...] = Field(min_length=2)
    model: str = Field(min_length=1, description="the judge, as its endpoint calls it")
    revision: str = ""
    unanswered: float = Field(0.01, ge=0, le=1, description="share of games that may stay without reply")


def same_rows(what: Comparing, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    return {"model": what.model, "revision": what.revision}


@stage("pairwise comparison", version="2", rows=same_rows, rows_since="1")
def compare_answers(run: Run, what: Comparing, how: JudgingHow, prompts: Manifests, responses: Manifests) -> None:
    asked = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    said = [answers(run, made) for made in responses]
    games = pd.DataFrame(all_games(what, dict(zip(asked["prompt_id"], asked["messages"], strict=True)), said))
    games = games.astype({"points": float, "request": object, "body": object})
    replies, why = replies_to(run, how, games.dropna(subset="request").drop_duplicates("request"), REPLY_TOKENS)
    games = games.drop(columns="body").merge(replies, on="request", how="left")
    missing = games["request"].notna() & games["reply"].isna()
    if (share := missing.mean()) > what.unanswered:
        first = why.get(games.loc[missing, "request"].iloc[0])
        raise ProgramFailed(f"{missing.sum()} of {len(games)} games ({share:.1%}) got no reply, the first: {first}")
    games.to_parquet(run.folder / "comparisons.parquet", index=False)
    run.count(
        rows=len(games), asked=int(games["request"].notna().sum()), unanswered=int(missing.sum()), **doubts(games)
    )


def answers(run: Run, made: Manifest) -> dict[str, str]:
    rows = pd.read_parquet(run.file(made, "responses.parquet"), columns=["prompt_id", "sample_index", "text"])
    rows = rows[rows["sample_index"] == 0]
    return dict(zip(rows["prompt_id"], rows["text"], strict=True))


def all_games(what: Comparing, asked: dict[str, list], said: list[dict[str, str]]) -> Iterator[dict]:
    """Of every prompt each two answers, twice, with the request to the judge, or with the points where none is needed."""
    bad = [flags({prompt: (text,) for prompt, text in one.items()}) for one in said]
    for prompt in sorted(set().union(*said)):
        given = [place for place, one in enumerate(said) if prompt in one]
        for pair in itertools.combinations(given, 2):
            for first, second in (pair, pair[::-1]):
                texts = [said[first][prompt], said[second][prompt]]
                game = {"prompt_id": prompt, "first": first, "second": second}
                wrong = [prompt in bad[place] for place in (first, second)]
                if any(wrong) or texts[0] == texts[1]:
                    yield game | {"points": 0.5 + 0.5 * (wrong[1] - wrong[0]), "request": None, "body": None}
                    continue
                body = {"model": what.model, "messages": [question(asked[prompt], *texts)], **PARAMETERS}
                written = json.dumps(body, ensure_ascii=False)
                yield game | {"points": None, "request": request_id(body, what.revision), "body": written}


def question(turns: Sequence[Mapping[str, str]], first: str, second: str) -> dict[str, str]:
    conversation = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
    return {"role": "user", "content": filled(ASK, conversation=conversation, first=first, second=second)}


def points(reply: str | None) -> float | None:
    """Of the first answer: the one label that the judge gave; None where it gave none or several."""
    found = set(re.findall(r"\[\[([ABC])\]\]", json.loads(reply)["content"])) if isinstance(reply, str) else set()
    return POINTS[found.pop()] if len(found) == 1 else None


def doubts(games: pd.DataFrame) -> dict[str, int]:
    """Replies without a label, which leave a pair drawn; and replies for the first answer of all that are for one of two: where
    these are not half, the judge goes by places."""
    read = games.loc[games["reply"].notna(), "reply"].map(points).astype(float)
    return {
        "unreadable": int(read.isna().sum()),
        "decided": int((read != 0.5).sum() - read.isna().sum()),
        "for_the_first": int((read == 1).sum()),
    }


def copeland(games: pd.DataFrame) -> pd.DataFrame:
    """prompt_id, place, score: pairs won, a drawn pair being half. The games of a pair are averaged; without any it is drawn."""
    read = games["points"].where(games["request"].isna(), games["reply"].map(points)).astype(float)
    turned = games["first"] > games["second"]
    low, high = games[["first", "second"]].min(axis=1), games[["first", "second"]].max(axis=1)
    of_low = pd.DataFrame(
        {"prompt_id": games["prompt_id"], "low": low, "high": high, "points": read.where(~turned, 1 - read)}
    )
    pairs = of_low.groupby(["prompt_id", "low", "high"])["points"].mean().fillna(0.5).reset_index()
    won = 0.5 + 0.5 * (pairs["points"] > 0.5) - 0.5 * (pairs["points"] < 0.5)
    both = [
        pairs[["prompt_id"]].assign(place=pairs[side], score=score) for side, score in (("low", won), ("high", 1 - won))
    ]
    return pd.concat(both).groupby(["prompt_id", "place"], as_index=False)["score"].sum()
