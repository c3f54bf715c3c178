"""How a model is sampled: hashed, since it changes the responses."""

from pydantic import Field, model_validator

from tasks.stage import Seed, What


class Sampling(What):
    """How a model is sampled. Everything but who is asked how often is the identity of the rows: n may grow, rows stay."""

    n: int = Field(default=5, gt=0, le=10_000, description="responses per prompt")
    temperature: float = Field(default=0.8, ge=0, description="0 is greedy decoding")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = Field(default=4096, gt=0, le=2**20)
    seed: Seed
    parts: tuple[str, ...] = Field(
        default=(), description="only prompts of these parts of the split; empty: all prompts"
    )
    top_k: int = Field(default=0, ge=0, description="0: of all tokens")
    repetition_penalty: float = Field(
        default=1.0, gt=0, description="divides the scores of tokens that stand there already"
    )
    by_category: dict[str, int] = Field(
        default={}, description="n of prompts of these categories; 0: they are not asked"
    )

    def on(self, *parts: str, **changes: float) -> "Sampling":
        """The same, on some parts of the prompts; with an n of its own for all of them, if one is given."""
        alike = {"by_category": {}} if "n" in changes else {}
        return self.model_copy(update={"parts": parts, **alike, **changes})

    @model_validator(mode="after")
    def sensible(self) -> "Sampling":
        if 0 < self.temperature < 0.01:
            raise ValueError(f"temperature: {self.temperature} is neither 0 (greedy) nor at least 0.01")
        if bad := [name for name, number in self.by_category.items() if number < 0]:
            raise ValueError(f"by_category: {bad[0]!r} has {self.by_category[bad[0]]}")
        return self
