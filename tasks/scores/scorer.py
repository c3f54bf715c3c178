"""Scores rows with a reward model: limits their length, chooses the layout and the batches, gives a reason for no score."""

import logging
import math
from collections.abc import Callable
from typing import cast

import torch
from jinja2 import TemplateError

from infra.errors import BadInput, OutOfMemory
from tasks.loading import load_tokenizer, out_of_memory
from tasks.scores import reading
from tasks.scores.armorm import ArmoRMHeads
from tasks.scores.conversation import Conversations, Text
from tasks.scores.grouping import by_length, group_by_prompt
from tasks.scores.sequence_classifier import OneLogit

TRIED = 6  # number of texts on which a layout is tested before use


class Scorer:
    """`layout` is shared-prompt, padded, or whole (for a model with its own pooling)."""

    def __init__(self, folder: str, what: dict, batch_size: int, batch_tokens: int):
        self.tokenizer = load_tokenizer(folder)
        self.conversations = Conversations(self.tokenizer)
        match what["kind"]:
            case "armorm":
                self.model: ArmoRMHeads | OneLogit = ArmoRMHeads(folder, self.tokenizer)
            case "sequence-classifier":
                self.model = OneLogit(folder)
            case kind:
                raise ValueError(f"unknown kind of reward model: {kind!r}")
        # If positions depend on the longest text of the batch, each text is scored in a batch of one.
        alone = reading.length_dependent(self.model.backbone)
        self.max_length, self.too_long, self.batch_size = (
            what["max_length"],
            what["too_long"],
            1 if alone else batch_size,
        )
        self.batch_tokens = batch_tokens
        self.layout, self.apart, self.halved = "padded", 0, 0

    @torch.inference_mode()
    def choose_layout(self, rows: list[dict], wanted: str) -> None:
        """Tests the wanted layout on the first rows; if the model does not support it, uses another and logs the reason."""
        sample = [text for row in rows[: 4 * TRIED] if (text := self.fitting(row)[0])][:TRIED]
        if sample and isinstance(self.model, OneLogit) and not self.model.reads_last(sample[0]):
            self.layout = "whole"
        elif wanted == "shared-prompt":
            if problem := self.problem([text for text in sample if text.shareable]):
                logging.warning("the shared-prompt layout is not used: %s", problem)
            self.layout = "padded" if problem else wanted

    def problem(self, texts: list[Text]) -> str | None:
        if not texts:
            return "the chat template renders a prompt differently for each response"
        backbone = self.model.backbone
        return reading.find_cache_objection(backbone, self.max_length) or reading.find_disagreement(
            backbone, texts, self.read_positions(texts)
        )

    @torch.inference_mode()
    def score(self, rows: list[dict]) -> list[dict]:
        """The rows of SCORE in the order of `rows`, each with a score or the reason why it has none."""
        read = [self.fitting(row) for row in rows]
        found = iter(self.columns([text for text, *_ in read if text]))
        scored = [
            {"content_id": row["content_id"], "tokens": tokens, "truncated": cut, "reason": reason, "score": None}
            | (next(found) if text else {})
            for row, (text, tokens, cut, reason) in zip(rows, read, strict=True)
        ]
        refuse_bad_values(scored)
        return scored

    def fitting(self, row: dict) -> tuple[Text | None, int, bool, str | None]:
        """Returns the row's text, its number of tokens, whether it was cut, and None; or no text and the reason."""
        try:
            text, cut = self.conversations(row["messages"], row["text"]), False
        except TemplateError as problem:
            return None, 0, False, f"the chat template refuses it: {' '.join(str(problem).split())}"
        if (length := len(text.ids)) > self.max_length:
            if self.too_long == "skip":
                return None, 0, False, f"{length} tokens, of at most {self.max_length}"
            if text.prompt >= self.max_length:
                return None, 0, False, f"the prompt has {text.prompt} tokens, of at most {self.max_length}"
            text, cut = text.cut(self.max_length), True
        if self.model.read_position(text) is None:
            return None, 0, False, "the text has no assistant turn"
        return text, len(text.ids), cut, None

    def columns(self, texts: list[Text]) -> list[dict]:
        """The model's output columns for each text, in the texts' order."""
        found: list[dict] = [{}] * len(texts)
        alone, groups = range(len(texts)), iter(())
        if self.layout == "shared-prompt":
            self.apart += sum(not text.shareable for text in texts)
            alone, groups = group_by_prompt(texts, self.batch_size, self.batch_tokens)
        lines = by_length(texts, alone, self.batch_size, self.batch_tokens)
        for way, batches in ((self.of_whole, lines), (self.of_prompts, groups)):
            for some in batches:
                read = self.in_halves(way, [texts[index] for index in some])
                for index, columns in zip(some, read, strict=True):
                    found[index] = columns
        return found

    def in_halves(self, way: Callable[[list[Text]], list[dict]], texts: list[Text]) -> list[dict]:
        """Splits a batch in halves if it runs out of memory, and limits later batches to the size of a half."""
        try:
            return way(texts)
        except Exception as problem:  # torch raises different types for out of memory
            if not out_of_memory(problem):
                raise
            if len(texts) == 1:
                raise OutOfMemory(
                    f"out of memory with a single response: lower the reward's scoring.max_length ({self.max_length}), or use"
                    f" a GPU with more memory; {str(problem).partition(chr(10))[0]}"
                ) from problem
        # Outside of the except block: the exception keeps the failed batch's tensors in memory.
        logging.warning(
            "out of memory with %d responses at the same time: batches have half the size from now on", len(texts)
        )
        torch.cuda.empty_cache()
        self.halved += 1
        half = len(texts) // 2
        self.batch_size = min(self.batch_size, half)
        return [*self.in_halves(way, texts[:half]), *self.in_halves(way, texts[half:])]

    def of_whole(self, texts: list[Text]) -> list[dict]:
        if self.layout == "whole":
            padding = cast("int | None", self.tokenizer.pad_token_id)
            return cast(OneLogit, self.model).ask(texts, padding)
        return self.model.columns(*reading.read_whole(self.model.backbone, texts, self.read_positions(texts)))

    def of_prompts(self, texts: list[Text]) -> list[dict]:
        rows = max(1, self.batch_tokens // max(len(text.ids) for text in texts))
        size = min(self.batch_size, rows)
        states = reading.after_prompts(self.model.backbone, texts, self.read_positions(texts), size)
        return self.model.columns(*states)

    def read_positions(self, texts: list[Text]) -> list[int]:
        return [cast(int, self.model.read_position(text)) for text in texts]  # `fitting` leaves out texts without one


def refuse_bad_values(rows: list[dict]) -> None:
    for row in rows:
        if row["reason"] is None and not math.isfinite(row["score"]):
            raise BadInput(f"reward.model: the score of content {row['content_id']} is {row['score']}")
