"""A reward model, and how it reads rows: what fits, in which layout, in which batches; and the reason where it gives no score."""

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

TRIED = 6  # texts on which a layout is tried before it is used


class Scorer:
    """`layout` is how it reads: shared-prompt, padded, or whole where the model pools in a way of its own."""

    def __init__(self, folder: str, what: dict, batch_size: int, batch_tokens: int):
        self.tokenizer = load_tokenizer(folder)
        self.conversations = Conversations(self.tokenizer)
        match what["kind"]:
            case "armorm":
                self.model: ArmoRMHeads | OneLogit = ArmoRMHeads(folder, self.tokenizer)
            case "sequence-classifier":
                self.model = OneLogit(folder)
            case kind:
                raise ValueError(f"no reader for a reward model of kind {kind!r}")
        alone = reading.length_dependent(self.model.backbone)  # then a score would depend on its batch
        self.max_length, self.too_long, self.batch_size = (
            what["max_length"],
            what["too_long"],
            1 if alone else batch_size,
        )
        self.batch_tokens = batch_tokens
        self.layout, self.apart, self.halved = "padded", 0, 0

    @torch.inference_mode()
    def choose_layout(self, rows: list[dict], wanted: str) -> None:
        """Tried on the first rows: a model that reads otherwise than asked is read in its own way, and the log says why."""
        sample = [text for row in rows[: 4 * TRIED] if (text := self.fitting(row)[0])][:TRIED]
        if sample and isinstance(self.model, OneLogit) and not self.model.reads_last(sample[0]):
            self.layout = "whole"
        elif wanted == "shared-prompt":
            if problem := self.problem([text for text in sample if text.shareable]):
                logging.warning("prompts are not shared: %s", problem)
            self.layout = "padded" if problem else wanted

    def problem(self, texts: list[Text]) -> str | None:
        if not texts:
            return "the chat template writes a prompt in another way under each response"
        backbone = self.model.backbone
        return reading.find_cache_objection(backbone, self.max_length) or reading.find_disagreement(
            backbone, texts, self.places(texts)
        )

    @torch.inference_mode()
    def score(self, rows: list[dict]) -> list[dict]:
        """In the order of `rows`, each with its score or with the reason why it has none."""
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
        """The row's text as it is read, how many tokens that is, whether it was cut; or why it is not read."""
        try:
            text, cut = self.conversations(row["messages"], row["text"]), False
        except TemplateError as problem:
            return None, 0, False, f"the chat template refuses it: {' '.join(str(problem).split())}"
        if (length := len(text.ids)) > self.max_length:
            if self.too_long == "skip":
                return None, 0, False, f"{length} tokens, of at most {self.max_length}"
            if text.prompt >= self.max_length:
                return None, 0, False, f"the prompt alone has {text.prompt} tokens, of at most {self.max_length}"
            text, cut = text.cut(self.max_length), True
        if self.model.place(text) is None:
            return None, 0, False, "no turn of the assistant opens in it"
        return text, len(text.ids), cut, None

    def columns(self, texts: list[Text]) -> list[dict]:
        """What the model says of each text, in their order."""
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
        """A batch that memory does not hold is read in halves, and those that follow have no more rows than these."""
        try:
            return way(texts)
        except Exception as problem:  # torch has no one kind for it
            if not out_of_memory(problem):
                raise
            if len(texts) == 1:
                raise OutOfMemory(
                    f"out of memory with one response: lower the reward's scoring.max_length ({self.max_length}), or score"
                    f" on a GPU with more memory; {str(problem).partition(chr(10))[0]}"
                ) from problem
        logging.warning("out of memory with %d responses at once: read in halves from here on", len(texts))
        torch.cuda.empty_cache()
        self.halved += 1
        half = len(texts) // 2
        self.batch_size = min(self.batch_size, half)
        return [*self.in_halves(way, texts[:half]), *self.in_halves(way, texts[half:])]

    def of_whole(self, texts: list[Text]) -> list[dict]:
        if self.layout == "whole":
            padding = cast("int | None", self.tokenizer.pad_token_id)
            return cast(OneLogit, self.model).ask(texts, padding)
        return self.model.columns(*reading.read_whole(self.model.backbone, texts, self.places(texts)))

    def of_prompts(self, texts: list[Text]) -> list[dict]:
        rows = max(1, self.batch_tokens // max(len(text.ids) for text in texts))
        size = min(self.batch_size, rows)
        states = reading.after_prompts(self.model.backbone, texts, self.places(texts), size)
        return self.model.columns(*states)

    def places(self, texts: list[Text]) -> list[int]:
        return [cast(int, self.model.place(text)) for text in texts]  # `fitting` leaves out a text without a place


def refuse_bad_values(rows: list[dict]) -> None:
    for row in rows:
        if row["reason"] is None and not math.isfinite(row["score"]):
            raise BadInput(f"reward.model: the score of content {row['content_id']} is {row['score']}")
