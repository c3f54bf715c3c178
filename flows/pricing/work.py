"""The work of a step in numbers on which its time depends, from its counts; the same for planned steps and for artifacts."""

from dataclasses import dataclass

from flows.pricing.amounts import prompt_tokens, response_tokens
from flows.pricing.jobs import Job, Jobs
from flows.pricing.model_sizes import ModelSize

TRAININGS = ("sft", "wrpo")


@dataclass(frozen=True)
class Work:
    """`kind`: what the time is spent on: a model that writes, reads or trains; or rows; or questions to an endpoint."""

    kind: str  # writes | reads | trains | rows | asks | nothing
    engine: str = ""  # of a job that writes; of a training its form, if it is not the usual one
    size: ModelSize | None = None
    rows: float = 0
    tokens: float = 0  # that a model writes, or reads, or trains on
    read: float = 0  # tokens of prompts, of a job that writes
    steps: float = 0

    @property
    def operations(self) -> float:
        """Floating-point operations on the model."""
        passes = 3 if self.kind == "trains" else 1  # backward costs twice the forward pass
        return passes * self.size.work * (self.tokens + self.read) if self.size else 0.0


def work_of(job: Job, jobs: Jobs) -> Work:
    counts = job.counts
    made = made_share(job)
    rows = counts.get("rows", 0) * made
    match job.stage:
        case "model":
            trained = job.what.get("kind") in ("tiny", "tiny-reward")
            size = jobs.size_of(job) if trained else None
            return Work(
                "trains" if trained else "nothing", "", size, 0, counts.get("tokens", 0), 0, counts.get("steps", 0)
            )
        case "per-model-sampling":
            engine, size = engine_of(job), jobs.size_of(job)
            kind = "nothing" if engine == "existing" else "asks" if engine == "endpoint" else "writes"
            read = rows * prompt_tokens(job, jobs)
            return Work(kind, engine, size, rows, counts.get("tokens", 0) * made, read)
        case "reward-annotation":
            size = jobs.size_of(job, "reward")
            kind = {"endpoint": "asks", "program": "rows"}.get(job.what.get("kind", ""), "reads")
            return Work(kind, "", size, rows, counts.get("tokens", 0) * made)
        case "reference-log-probs":
            read = rows / 3 * prompt_tokens(job, jobs)  # a prompt is read once for its responses
            return Work("reads", "", jobs.size_of(job), rows, counts.get("tokens", 0) * made, read)
        case "sft" | "wrpo":
            form = "preference" if job.stage == "wrpo" else ""
            return Work("trains", form, jobs.size_of(job), rows, counts.get("tokens", 0), 0, counts.get("steps", 0))
        case "judging" | "pairwise-comparison" | "answers-together" | "mixture-answers":
            return Work("asks", "", None, rows, rows * (prompt_tokens(job, jobs) + 2 * response_tokens(job, jobs)))
    inputs = sum(one.counts.get("rows", 0) for name in job.inputs for one in jobs.inputs(job, name))
    return Work("rows", "", None, rows + inputs)


def made_share(job: Job) -> float:
    """The share of the rows that this step makes; the others were in its pool before."""
    rows = job.counts.get("rows", 0)
    return job.counts.get("rows_made", rows) / rows if rows else 1.0


def engine_of(job: Job) -> str:
    """The kind of engine: of a planned step from its settings, of an artifact from the engine that made most rows."""
    if job.manifest is None:
        return getattr(job.how, "kind", "transformers")
    named = {name: count for name, count in job.counts.items() if name.startswith("by ")}
    if not named:
        return "existing"
    name = max(named, key=lambda one: float(named[one])).split()[1]
    return name if name in ("transformers", "vllm") else "endpoint"
