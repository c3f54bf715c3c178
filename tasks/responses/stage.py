"""Per-model sampling: leaves `responses.parquet`, n responses of one model per prompt, sorted by prompt and sample index."""

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd
from pydantic import Field, model_validator

from infra.errors import BadInput
from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import fill, write
from tasks.records import RESPONSE
from tasks.stage import Addressed, How, Seed, What, stage


class Sampling(What):
    """How a model is sampled. Everything but `n` and `parts` is the identity of the rows: n may grow, rows stay."""

    n: int = Field(5, gt=0, le=10_000, description="responses per prompt")
    temperature: float = Field(0.8, ge=0, description="0 is greedy decoding")
    top_p: float = Field(0.95, gt=0, le=1)
    max_new_tokens: int = Field(4096, gt=0, le=2**20)
    seed: Seed
    parts: tuple[str, ...] = Field((), description="only prompts of these parts of the split; empty: all prompts")

    def on(self, *parts: str, **changes: float) -> "Sampling":
        """The same, on some parts of the prompts."""
        return self.model_copy(update={"parts": parts, **changes})

    @model_validator(mode="after")
    def sensible(self) -> "Sampling":
        if 0 < self.temperature < 0.01:
            raise ValueError(f"temperature: {self.temperature} is neither 0 (greedy) nor at least 0.01")
        return self


class SamplingHow(How):
    batch_size: int = Field(64, gt=0, le=65_536, description="responses generated at once")
    batches_per_part: int = Field(8, gt=0, description="batches between two commits: what a kill may cost")


def same_rows(what: Sampling, inputs: Mapping[str, Sequence[Addressed]]) -> dict:
    """Rows do not know how many there are: `n` and `parts` at their defaults leave no trace in the identity."""
    return {"model": inputs["model"][0].fingerprint, "sampling": what.model_copy(update={"n": 5, "parts": ()})}


@stage("per-model sampling", version="1", rows=same_rows)
def sample_responses(
    run: Run,
    what: Sampling,
    how: SamplingHow,
    prompts: tuple[Manifest],
    model: tuple[Manifest],
    splits: tuple[Manifest, ...] = (),
) -> None:
    chosen = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "messages"])
    if what.parts:
        parts = pd.read_parquet(run.file(splits[0], "splits.parquet"))
        chosen = chosen[chosen["prompt_id"].isin(parts.loc[parts["part"].isin(what.parts), "prompt_id"])]
    if chosen.empty:
        raise BadInput(f"sampling.parts: no prompt is in {', '.join(what.parts)}")
    rows = fill(
        run,
        wanted(chosen, what, model[0].fingerprint),
        ["prompt_id", "sample_index"],
        RESPONSE,
        "tasks.responses.generate",
        {"model": str(run.model(model[0])), "what": what.model_dump(mode="json"), "how": how.model_dump(mode="json")},
    )
    rows = rows.sort_values(["prompt_id", "sample_index"])
    run.count(tokens=int(rows["tokens"].sum()), cut_at_length=int((rows["finish_reason"] == "length").sum()))
    write(run, rows, RESPONSE, "responses.parquet")


def wanted(prompts: pd.DataFrame, what: Sampling, model: str) -> pd.DataFrame:
    """One row per response to be had, prompts of like length together, the samples of a prompt side by side."""
    length = prompts["messages"].map(lambda turns: sum(len(turn["content"]) for turn in turns))
    ordered = prompts.assign(length=length).sort_values(["length", "prompt_id"]).drop(columns="length")
    rows = ordered.loc[ordered.index.repeat(what.n)].reset_index(drop=True)
    rows["sample_index"] = rows.groupby("prompt_id", sort=False).cumcount().astype("int32")
    rows["seed"] = [
        row_seed(what.seed, model, prompt, index)
        for prompt, index in zip(rows["prompt_id"], rows["sample_index"], strict=True)
    ]
    return rows


def row_seed(seed: int, model: str, prompt: str, index: int) -> int:
    """Each response has noise of its own: no two models or prompts share it, and n = 8 extends n = 5."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{model}\0{prompt}\0{index}".encode(), digest_size=6).digest())
