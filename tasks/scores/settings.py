"""How a reward model reads: a kind each, and what each may be told. The programs beside say how it is done."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.endpoint.settings import Asking
from tasks.stage import What


class Reading(What):
    """Prompt and response in the model's own chat template, read here."""

    max_length: int = Field(default=4096, gt=0, description="tokens of prompt and response")
    too_long: Literal["flag", "skip"] = Field(
        default="flag",
        description="a longer text: cut at its end and its row says truncated, or no score and its row says why",
    )


class SequenceClassifier(Reading):
    """Any model of transformers' AutoModelForSequenceClassification with one logit."""

    kind: Literal["sequence-classifier"]


class ArmoRMScoring(Reading):
    """RLHFlow's ArmoRM: many objectives under a gate. Rows keep the objectives and the gate beside the score."""

    kind: Literal["armorm"]


class EndpointScoring(What):
    """A reward model that somebody serves (vLLM's pooling API). How it reads a text that is too long is its own business;
    what it refuses has no score and its row says why."""

    kind: Literal["endpoint"]


class ProgramScoring(What):
    """A program of your own: it reads a line of JSON per row (prompt, response, answer) and writes a score per line."""

    kind: Literal["program"]


Scoring = Annotated[SequenceClassifier | ArmoRMScoring | EndpointScoring | ProgramScoring, Field(discriminator="kind")]

PROGRAMS = {
    "sequence-classifier": "tasks.scores.transformers_program",
    "armorm": "tasks.scores.transformers_program",
    "endpoint": "tasks.scores.endpoint_program",
    "program": "tasks.scores.user_program",
}
READS = {"endpoint": "served", "program": "program"}  # the kind of model that a kind of scoring asks for; else weights


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
