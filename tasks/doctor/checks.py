"""Checks of a model without loading its weights: chat template, end tokens, context length.

A red finding is a problem; any other finding is information. Nothing here decides whether a run goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from tasks.doctor.findings import Finding
from tasks.models.weights import find_classifier_problem
from tasks.positions import PositionLimit
from tasks.tokens import end_id, prompt_ids
from tasks.training.truncation import MIN_RESPONSE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION, ANSWER = "Qx7?", "Ax7."
ROLES = re.compile(r"\b(?:system|user|assistant|model|human|bot|gpt|inst|s|im_start|im_end)\b", re.IGNORECASE)
ROLE_LINE = re.compile(r"^\s*(?:system|user|assistant)\s*\n", re.IGNORECASE)  # ChatML writes the role inside the turn
DATE = re.compile(r"strftime_now|\b(?:today|current|knowledge) ?(?:date|cutoff)", re.IGNORECASE)
WORDS = 8  # more letters than this, apart from special tokens and roles, are a text


def render_conversation(tokenizer: PreTrainedTokenizerBase, *turns: tuple[str, str], opening: bool = True) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening)
    return cast(str, rendered)


def check_template(name: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    yield one_bos(name, tokenizer)
    yield check_prefix(name, tokenizer)
    yield default_system(name, tokenizer)
    yield check_date(name, tokenizer)


def one_bos(name: str, tokenizer: PreTrainedTokenizerBase) -> Finding:
    """The BOS token must be at the start, once; elsewhere only if it opens every turn, as in ChatML."""
    bos = tokenizer.bos_token_id
    turns = [{"role": "user", "content": QUESTION}]
    raw = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    ids = prompt_ids(tokenizer, turns)
    if bos is None:
        return Finding(name, "one-bos", False, "the model has no BOS token")
    leading = next((place for place, token in enumerate(raw) if token != bos), len(raw))
    if leading > 1:
        return Finding(name, "one-bos", True, f"the template begins with {leading} × {tokenizer.bos_token!r}")
    if ids[0] != bos:
        return Finding(name, "one-bos", True, f"neither template nor tokenizer writes {tokenizer.bos_token!r}")
    if bos in ids[1:] and f"{tokenizer.bos_token}user" not in render_conversation(tokenizer, ("user", QUESTION)):
        return Finding(name, "one-bos", True, f"{tokenizer.bos_token!r} occurs {ids.count(bos)} times in a prompt")
    return Finding(name, "one-bos", False, f"{tokenizer.bos_token!r}")


def check_prefix(name: str, tokenizer: PreTrainedTokenizerBase) -> Finding:
    """The rendered conversation must begin with the rendered prompt; otherwise training differs from generation."""
    prompt = render_conversation(tokenizer, ("user", QUESTION))
    whole = render_conversation(tokenizer, ("user", QUESTION), ("assistant", ANSWER), opening=False)
    if whole.startswith(prompt) and whole[len(prompt) :].startswith(ANSWER):
        return Finding(name, "prefix", False, "prompt and response together begin with the prompt")
    return Finding(name, "prefix", True, f"the prompt renders as {prompt!r}, with a response as {whole!r}")


def check_classifier_head(name: str, config: dict) -> Finding:
    if problem := find_classifier_problem(config):
        return Finding(name, "classifier", True, problem)
    return Finding(name, "classifier", False, "its config.json names a sequence classifier")


def default_system(name: str, tokenizer: PreTrainedTokenizerBase) -> Finding:
    before = render_conversation(tokenizer, ("user", QUESTION)).partition(QUESTION)[0]
    marks = sorted({*tokenizer.all_special_tokens, *cast(Any, tokenizer).get_added_vocab()}, key=len, reverse=True)
    parts = re.split("|".join(map(re.escape, marks)), before) if marks else [before]
    if sum(letter.isalpha() for letter in ROLES.sub(" ", " ".join(parts))) < WORDS:
        return Finding(name, "default-system", False, "the template adds no words")
    prompt = "\n".join(ROLE_LINE.sub("", part).strip() for part in parts if re.search(r"\w", ROLES.sub("", part)))
    quoted = json.dumps(prompt, ensure_ascii=False)
    hint = f'to accept it, write under [doctor.accepted]: "{name}.default-system" = "as its authors ship it"'
    return Finding(name, "default-system", True, f"the template adds a system prompt: {quoted}", hint)


def check_date(name: str, tokenizer: PreTrainedTokenizerBase) -> Finding:
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else str(tokenizer.chat_template)
    if found := DATE.search(render_conversation(tokenizer, ("user", QUESTION))) or re.search("strftime_now", template):
        return Finding(
            name,
            "date",
            True,
            f"the template writes a date ({found[0]!r}); this project fixes the date, but a server may change it every day",
        )
    return Finding(name, "date", False, "no date")


def system_role(name: str, tokenizer: PreTrainedTokenizerBase, used: int) -> Finding:
    """`used`: the number of real prompts with a system turn. If there are any, a template without a system role is red."""
    from jinja2 import TemplateError

    rule = "Srule7"
    try:
        rendered = render_conversation(tokenizer, ("system", rule), ("user", QUESTION))
    except TemplateError as problem:
        return Finding(
            name, "system-role", used > 0, f"the template refuses a system turn ({problem}); {used} prompts have one"
        )
    if rule not in rendered:
        return Finding(
            name, "system-role", used > 0, f"the template drops a system turn without an error; {used} prompts have one"
        )
    return Finding(name, "system-role", False, "the template renders a system turn")


def check_end_tokens(name: str, tokenizer: PreTrainedTokenizerBase, eos: int | list[int] | None) -> Finding:
    end, stops = end_id(tokenizer), {eos} if isinstance(eos, int) else set(eos or ())
    token = tokenizer.convert_ids_to_tokens(end)
    if end in stops:
        return Finding(name, "end-tokens", False, f"a turn ends with {token!r}, and generation stops there")
    listed = tokenizer.convert_ids_to_tokens(sorted(stops)) or "no token"
    return Finding(name, "end-tokens", True, f"a turn ends with {token!r}, but generation stops at {listed}")


def check_context(name: str, limit: int, stated: int, wanted: int, scored: int = 0) -> Finding:
    """`limit`: the model's context; `wanted`: the longest response; `scored`: the longest text that it scores (in tokens)."""
    if scored > limit:
        return Finding(
            name, "context", True, f"it scores texts of up to {scored:,} tokens, but its context is {limit:,}"
        )
    if stated and stated != limit:
        return Finding(name, "context", True, f"the recipe has {stated:,} tokens, but the model's config has {limit:,}")
    if wanted >= limit:
        return Finding(
            name, "context", True, f"a response of {wanted:,} tokens leaves no room for a prompt in {limit:,}"
        )
    return Finding(name, "context", False, f"{limit:,} tokens")


def check_truncation(name: str, lengths: list[int], limit: int, wanted: int) -> Finding:
    """The share of prompts that leave less room than the longest response, and the share that is refused for no room."""
    cut = sum(length + wanted > limit for length in lengths) / max(len(lengths), 1)
    refused = sum(length >= limit for length in lengths) / max(len(lengths), 1)
    text = (
        f"of {len(lengths):,} prompts, {cut:.1%} leave less than {wanted:,} tokens for a response, "
        f"and {refused:.1%} are refused"
    )
    return Finding(name, "truncation", refused > 0.01, text)


def check_trainable(name: str, lengths: list[int], max_length: int) -> Finding:
    """How many prompts leave no room for a response in training; their records are left out."""
    long = sum(length + MIN_RESPONSE > max_length for length in lengths)
    text = (
        f"{long:,} of {len(lengths):,} prompts leave no room for a response in {max_length:,} tokens; "
        "training leaves them out"
    )
    return Finding(name, "training-length", long > 0.01 * len(lengths), text)


def positions(name: str, limit: PositionLimit, max_length: int) -> Finding:
    """Whether positions depend on the longest row of a batch. `max_length`: of the training, 0 if the model is not trained."""
    text = (
        f"beyond {limit.tokens:,} tokens its positions ({limit.kind}) depend on the longest row of a batch: transformers"
        f" samples such rows one by one, and a training refuses them"
    )
    if max_length > limit.tokens:
        return Finding(name, "positions", True, f"{text}; max_length is {max_length:,}, set it to {limit.tokens:,}")
    return Finding(name, "positions", False, text)
