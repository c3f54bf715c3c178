"""Settings of each kind of scoring; PROGRAMS names the program of each kind."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.endpoint.settings import Asking
from tasks.stage import SharedHow, What


class Reading(What):
    """Scores prompt and response in the model's chat template, with a model loaded on this machine."""

    max_length: int = Field(default=4096, gt=0, description="maximum number of tokens of prompt and response")
    too_long: Literal["flag", "skip"] = Field(
        default="flag",
        description="for a longer text. flag: it is cut at its end, and its row is marked truncated; skip: it gets no score,"
        " only a reason",
    )


class SequenceClassifier(Reading):
    """Any model of transformers' AutoModelForSequenceClassification with one logit."""

    kind: Literal["sequence-classifier"]


class ArmoRMScoring(Reading):
    """RLHFlow's ArmoRM: many objectives under a gate. Rows contain the objectives, the gate and the score."""

    kind: Literal["armorm"]


class EndpointScoring(What):
    """A served reward model (vLLM's pooling API). The server decides about a text that is too long; a text that it refuses
    has no score, and its row contains the reason."""

    kind: Literal["endpoint"]


class ProgramScoring(What):
    """The user's own program: it reads a line of JSON per row (prompt, response, answer) and writes a score per line."""

    kind: Literal["program"]


Scoring = Annotated[SequenceClassifier | ArmoRMScoring | EndpointScoring | ProgramScoring, Field(discriminator="kind")]

PROGRAMS = {
    "sequence-classifier": "tasks.scores.transformers_program",
    "armorm": "tasks.scores.transformers_program",
    "endpoint": "tasks.scores.endpoint_program",
    "program": "tasks.scores.user_program",
}
# Kind of scoring -> the kind of model that it needs.
MODELS_WITHOUT_WEIGHTS = {"endpoint": "served", "program": "program"}


def needed_model_kind(scoring: str) -> str:
    """The kind of model that a kind of scoring needs; `weights` stands for every kind that has weights."""
    return MODELS_WITHOUT_WEIGHTS.get(scoring, "weights")


class ScoringHow(Asking, SharedHow):
    batch_size: int = Field(default=64, gt=0, le=65_536, description="maximum number of responses per forward pass")
    batch_tokens: int = Field(
        default=65_536,
        gt=0,
        description="maximum number of tokens per forward pass, with padding; a response is never cut",
    )
    batches_per_part: int = Field(default=8, gt=0)
    layout: Literal["shared-prompt", "padded"] = Field(
        default="shared-prompt",
        description="shared-prompt: computes each prompt once for all its responses; padded: with each response; the scores"
        " are equal",
    )
    urls: dict[str, str] = Field(
        default={}, description="endpoint of each served model, by the model's id: the whole address"
    )
    timeout: float = Field(
        default=120.0, gt=0, description="maximum seconds for an endpoint's reply, or for a program's batch"
    )
    restarts: int = Field(
        default=2, ge=0, description="maximum number of restarts of a program that was killed or failed"
    )
