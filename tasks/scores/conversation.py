"""A reward model's input: prompt and response in its chat template, as token ids, with the prompt's length."""

from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from tasks.tokens import around_answer, special_pattern, with_one_bos

MARK = "\ue000the response\ue001"  # no template and no text contains it


@dataclass(frozen=True)
class Text:
    """One conversation. If `shared`, every conversation with this prompt starts with the same first `prompt` ids."""

    ids: list[int]
    prompt: int
    shared: bool = True

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        return tuple(self.ids[: self.prompt])

    @property
    def shareable(self) -> bool:
        return self.shared and self.prompt < len(self.ids)

    def cut(self, length: int) -> "Text":
        return Text(self.ids[:length], self.prompt, self.shared)


class Conversations:
    """Turns rows into texts. Keeps the rendered template of the last prompt, because rows are grouped by prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.messages: list[dict] | None = None

    def __call__(self, messages: list[dict], text: str) -> Text:
        if messages != self.messages:
            self.frame(messages)
        whole = self.rendered(messages, text)
        framed = whole.startswith(self.before) and whole.endswith(self.after)
        response = whole[len(self.before) : len(whole) - len(self.after)] if framed else ""
        if special_pattern(self.tokenizer).search(response):  # text that spells a special token must not become one
            ids = around_answer(self.tokenizer, self.before, response, self.after)
        else:
            ids = self.ids(whole)
        ids = with_one_bos(self.tokenizer, ids)
        return Text(ids, len(self.prompt), framed and ids[: len(self.prompt)] == self.prompt)

    def frame(self, messages: list[dict]) -> None:
        """Stores the template's text before and after a response to this prompt."""
        self.before, _, self.after = self.rendered(messages, MARK).rpartition(MARK)
        self.prompt = with_one_bos(self.tokenizer, self.ids(self.before))
        self.messages = messages

    def rendered(self, messages: list[dict], text: str) -> str:
        """The whole conversation as the template renders it; some templates trim the response."""
        turns = [*messages, {"role": "assistant", "content": text}]
        return cast(str, self.tokenizer.apply_chat_template(turns, tokenize=False))

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]
