"""Sampling settings. They are hashed because they change the responses."""

from pydantic import Field, model_validator

from tasks.stage import Seed, What


class Sampling(What):
    """How a model is sampled. n, parts and by_category only select rows, so a change of them keeps finished rows; a change
    of any other setting makes new rows."""

    n: int = Field(default=5, gt=0, le=10_000, description="responses per prompt")
    temperature: float = Field(default=0.8, ge=0, description="0: greedy decoding")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=4096, gt=0, le=2**20)
    seed: Seed
    parts: tuple[str, ...] = Field(
        default=(), description="samples only prompts of these parts of the split; empty: all prompts"
    )
    top_k: int = Field(
        default=0, ge=0, description="samples only from this number of most likely tokens; 0: from all tokens"
    )
    repetition_penalty: float = Field(
        default=1.0,
        gt=0,
        description="penalty on the scores of tokens that already occur in the prompt or the response; 1: no penalty",
    )
    by_category: dict[str, int] = Field(
        default={}, description="n for the prompts of these categories; 0: these prompts are not sampled"
    )

    def on(self, *parts: str, **changes: float) -> "Sampling":
        """Returns a copy for some parts of the prompts. If n is given, it holds for every category."""
        alike = {"by_category": {}} if "n" in changes else {}
        return self.model_copy(update={"parts": parts, **alike, **changes})

    @model_validator(mode="after")
    def sensible(self) -> "Sampling":
        if 0 < self.temperature < 0.01:
            raise ValueError("temperature: must be 0 (greedy) or at least 0.01")
        if bad := [name for name, number in self.by_category.items() if number < 0]:
            raise ValueError(f"by_category: {bad[0]!r} must not be negative")
        return self
