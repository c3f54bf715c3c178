"""What a judge will cost, from counted tokens, and what it did cost, from the tokens that the endpoint counted."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from infra.errors import BadInput

AROUND_A_MESSAGE, BEFORE_A_REPLY = 4, 3  # tokens that a chat template adds


@dataclass(frozen=True)
class Cost:
    prompt_tokens: int
    completion_tokens: int
    dollars: float


def project(bodies: list[dict], reply_tokens: float, how: dict) -> Cost:
    """Prompts are counted with the judge's own tokenizer; replies are taken to be as long as they were before."""
    if not how["tokenizer"]:
        if how["price_in"] or how["price_out"]:
            raise BadInput("how.tokenizer: a judge with a price needs one (tokenizer.json), to say what it will cost")
        return Cost(0, 0, 0.0)
    if not Path(how["tokenizer"]).is_file():
        raise BadInput(f"how.tokenizer: there is no file {how['tokenizer']!r}")
    counter = Tokenizer.from_file(how["tokenizer"])
    return priced(sum(tokens_of(body, counter) for body in bodies), round(reply_tokens * len(bodies)), how)


def tokens_of(body: dict, counter: Tokenizer) -> int:
    said = counter.encode_batch([turn["content"] for turn in body["messages"]], add_special_tokens=False)
    return sum(len(one.ids) + AROUND_A_MESSAGE for one in said) + BEFORE_A_REPLY


def spent(replies: Iterable[dict], how: dict) -> Cost:
    used = [(row["prompt_tokens"], row["completion_tokens"]) for row in replies]
    return priced(sum(prompt for prompt, _ in used), sum(reply for _, reply in used), how)


def priced(prompt_tokens: int, completion_tokens: int, how: dict) -> Cost:
    dollars = (prompt_tokens * how["price_in"] + completion_tokens * how["price_out"]) / 1e6
    return Cost(prompt_tokens, completion_tokens, dollars)
