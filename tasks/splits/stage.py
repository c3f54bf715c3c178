"""Splitting: leaves `splits.parquet`, which says of each prompt whether it serves SFT, preference pairs or evaluation."""

import hashlib

import pandas as pd
from pydantic import Field, model_validator

from infra.errors import BadInput
from infra.store import Manifest
from tasks.execution import Run
from tasks.pool import write
from tasks.records import SPLIT
from tasks.stage import How, Seed, What, stage

PARTS = ("sft", "preference", "held_out")


class Split(What):
    """Shares of the prompts. A prompt's part follows from its id and the seed alone: new prompts never move old ones."""

    sft: float = Field(
        gt=0, lt=1, description="share of the prompts whose best source response the target is fine-tuned on"
    )
    preference: float = Field(gt=0, lt=1, description="share for the preference pairs")
    held_out: float = Field(gt=0, lt=1, description="share that only the evaluation sees")
    seed: Seed

    @model_validator(mode="after")
    def whole(self) -> "Split":
        if abs(self.sft + self.preference + self.held_out - 1) > 1e-6:
            raise ValueError(f"sft + preference + held_out is {self.sft + self.preference + self.held_out:g}, not 1")
        return self


@stage("splitting", version="1")
def split_prompts(run: Run, what: Split, how: How, prompts: tuple[Manifest]) -> None:
    ids = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id"])
    ids["part"] = [part_of(prompt, what) for prompt in ids["prompt_id"]]
    sizes = {part: int((ids["part"] == part).sum()) for part in PARTS}
    for part, size in sizes.items():
        if not size:
            raise BadInput(f"split.{part}: {getattr(what, part):g} of {len(ids)} prompts leaves none")
    run.count(rows=len(ids), **sizes)
    write(run, ids, SPLIT, "splits.parquet")


def part_of(prompt: str, what: Split) -> str:
    """Where a uniform hash of the prompt's id falls among the shares."""
    place = int.from_bytes(hashlib.blake2b(f"{what.seed}\0{prompt}".encode(), digest_size=8).digest()) / 2**64
    return "sft" if place < what.sft else "preference" if place < what.sft + what.preference else "held_out"
