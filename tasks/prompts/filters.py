"""Filters of a set's prompts, as settings of the recipe. A filter looks at one prompt and keeps it or not."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.prompts.language import Language, detect_language
from tasks.prompts.topics import is_code, is_mathematics, shows_tests
from tasks.stage import What


class Length(What):
    """Limits the length: the characters (code points) of all turns together."""

    kind: Literal["length"]
    minimum: int = Field(default=0, ge=0)
    maximum: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def ordered(self) -> "Length":
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum {self.maximum} is below minimum {self.minimum}")
        return self

    def keeps(self, prompt: dict, text: str) -> bool:
        size = sum(len(turn["content"]) for turn in prompt["messages"])
        return self.minimum <= size and (self.maximum is None or size <= self.maximum)


class InLanguage(What):
    kind: Literal["language"]
    languages: tuple[Language, ...] = Field(min_length=1)

    def keeps(self, prompt: dict, text: str) -> bool:
        return detect_language(text) in self.languages


class NoCode(What):
    kind: Literal["no-code"]

    def keeps(self, prompt: dict, text: str) -> bool:
        return not is_code(text)


class NoMathematics(What):
    kind: Literal["no-mathematics"]

    def keeps(self, prompt: dict, text: str) -> bool:
        return not is_mathematics(text)


class HasGold(What):
    """Only prompts with a gold answer: a correct answer or tests."""

    kind: Literal["has-gold"]

    def keeps(self, prompt: dict, text: str) -> bool:
        return bool((prompt["gold"] or "").strip())


class HasTests(What):
    """Only prompts with tests: in the gold column, or as worked examples in the prompt or in the data set's response."""

    kind: Literal["has-tests"]
    where: Literal["gold", "prompt", "response"] = "gold"

    def keeps(self, prompt: dict, text: str) -> bool:
        match self.where:
            case "gold":
                return bool((prompt["gold"] or "").strip())
            case "prompt":
                return shows_tests(text)
            case "response":
                return shows_tests(prompt["response"] or "")


Filter = Annotated[
    Length | InLanguage | NoCode | NoMathematics | HasGold | HasTests,
    Field(discriminator="kind"),
]


def join_turns(messages: list[dict[str, str]]) -> str:
    """The text of all turns of a prompt."""
    return "\n".join(turn["content"] for turn in messages)


def refused_by(filters: tuple[Filter, ...], prompt: dict) -> str:
    """The kind of the first filter that does not keep the prompt; an empty text if all keep it."""
    text = join_turns(prompt["messages"]) if filters else ""
    return next((each.kind for each in filters if not each.keeps(prompt, text)), "")
