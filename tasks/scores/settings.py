"""Settings of each kind of scoring; PROGRAMS names the program of each kind."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.endpoint.settings import Asking
from tasks.stage import What


class Reading(What):
    """Scores prompt and response in the model's chat template, with a model loaded on this machine."""

    max_length: int = Field(default=4096, gt=0, description="tokens of prompt and response")
    too_long: Literal["flag", "skip"] = Field(
        default="flag",
        description="a longer text: cut at its end and its row says truncated, or no score and its row says why",
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
# The kind of model that a kind of scoring needs; all others need weights.
READS = {"endpoint": "served", "program": "program"}


class ScoringHow(Asking):
    batch_size: int = Field(default=64, gt=0, le=65_536, description="responses at once, at most")
    batch_tokens: int = Field(
        default=65_536, gt=0, description="tokens at once, at most, padding included; a response is never cut"
    )
    batches_per_part: int = Field(default=8, gt=0)
    layout: Literal["shared-prompt", "padded"] = Field(
        default="shared-prompt",
        description="a prompt computed once for its responses, or with each of them; the scores agree",
    )
    urls: dict[str, str] = Field(
        default={}, description="of each served model, by its id: the endpoint, without a path"
    )
    timeout: float = Field(
        default=120.0, gt=0, description="seconds for a reply of an endpoint, or for a batch of a program"
    )
    workers: int = Field(default=1, gt=0, description="programs that share the rows, each with a GPU of its own")
    shares: int = Field(
        default=1, gt=0, le=64, description="flow runs of the work pool that take a step's rows at once"
    )
    restarts: int = Field(default=2, ge=0, description="how often a program that dies is started again")

    @model_validator(mode="after")
    def shared_on_a_pool(self) -> "ScoringHow":
        if self.shares > 1 and self.work_pool is None:
            raise ValueError(f"shares: {self.shares} are runs on a work pool, and work_pool names none")
        return self

    @property
    def programs(self) -> int:
        return self.workers

    @property
    def hosts(self) -> int:
        return self.shares
