"""The cost of a judge: projected from a tokenizer's counts, and spent according to the endpoint's counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from infra.errors import BadInput

TOKENS_PER_MESSAGE, TOKENS_PER_REPLY = 4, 3  # that a chat template adds


@dataclass(frozen=True)
class Cost:
    prompt_tokens: int
    completion_tokens: int
    dollars: float


def project(bodies: list[dict], reply_tokens: float, how: dict) -> Cost:
    """Counts the prompts with the judge's tokenizer and assumes `reply_tokens` for each reply."""
    if not how["tokenizer"]:
        if how["price_in"] or how["price_out"]:
            raise BadInput(
                "how.tokenizer: set the judge's tokenizer.json; it is needed to project the cost of a judge with a price"
            )
        return Cost(0, 0, 0.0)
    if not Path(how["tokenizer"]).is_file():
        raise BadInput(f"how.tokenizer: there is no file {how['tokenizer']!r}")
    counter = Tokenizer.from_file(how["tokenizer"])
    return priced(sum(tokens_of(body, counter) for body in bodies), round(reply_tokens * len(bodies)), how)


def tokens_of(body: dict, counter: Tokenizer) -> int:
    messages = counter.encode_batch([turn["content"] for turn in body["messages"]], add_special_tokens=False)
    return sum(len(message.ids) + TOKENS_PER_MESSAGE for message in messages) + TOKENS_PER_REPLY


def spent(replies: Iterable[dict], how: dict) -> Cost:
    used = [(row["prompt_tokens"], row["completion_tokens"]) for row in replies]
    return priced(sum(prompt for prompt, _ in used), sum(reply for _, reply in used), how)


def priced(prompt_tokens: int, completion_tokens: int, how: dict) -> Cost:
    dollars = (prompt_tokens * how["price_in"] + completion_tokens * how["price_out"]) / 1e6
    return Cost(prompt_tokens, completion_tokens, dollars)
