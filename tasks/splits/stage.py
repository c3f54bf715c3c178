"""Splitting: leaves `splits.parquet`, which says of each prompt whether it serves SFT, preference pairs or evaluation.

A prompt has one part or none, so the parts are disjoint.
"""

import hashlib
from fractions import Fraction
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, model_validator

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import SPLIT
from tasks.rows.pool import write
from tasks.stage import How, Seed, What, stage

PARTS = ("sft", "preference", "held_out")
Manifests = tuple[Manifest, ...]


class Shares(What):
    """Shares of the prompts. A prompt's part follows from its id and the seed alone: new prompts never move old ones.

    The price: sizes come out near their shares, not exactly so. Exact sizes depend on all prompts (`by-category`).
    """

    kind: Literal["shares"]
    sft: float = Field(
        gt=0, lt=1, description="share of the prompts whose best source response the target is fine-tuned on"
    )
    preference: float = Field(gt=0, lt=1, description="share for the preference pairs")
    held_out: float = Field(ge=0, lt=1, description="share that only the evaluation sees; 0 where a set is held out")
    seed: Seed

    @model_validator(mode="after")
    def whole(self) -> "Shares":
        if abs(self.sft + self.preference + self.held_out - 1) > 1e-6:
            raise ValueError(f"sft + preference + held_out is {self.sft + self.preference + self.held_out:g}, not 1")
        return self


class ByCategory(What):
    """Exact sizes within each category, FuseChat-3.0's way: of its N prompts in the order of their hashes, the first
    floor(held_out N) are held out, of the M that are left floor(sft M) serve SFT, and the others the pairs.

    New prompts of a category may move old ones: a size that depends on N cannot have it otherwise.
    """

    kind: Literal["by-category"]
    held_out: float = Field(
        ge=0, lt=1, description="share of each category that only the evaluation sees; 0 where a set is held out"
    )
    sft: float = Field(ge=0, le=1, description="share for SFT of what is not held out; FuseChat-3.0 has 0.4")
    shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="categories with an SFT share of their own"
    )
    pairable: tuple[str, ...] = Field(
        (), description="categories of which only prompts are counted and used whose source responses leave a pair"
    )
    seed: int


class Given(What):
    """Every prompt names its part itself (the field `part` of the prompts)."""

    kind: Literal["given"]


SplitRule = Annotated[Shares | ByCategory | Given, Field(discriminator="kind")]


@stage("splitting", version="3")
def split_prompts(
    run: Run, what: Shares | ByCategory | Given, how: How, prompts: Manifests, pairs: Manifests = ()
) -> None:
    """`pairs`: the source responses' pairs of all prompts, which `pairable` asks for. A prompt that names its part, as those
    of a set that is held out do, has it under every rule, and the rule deals with the others."""
    every = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "category", "part"])
    rows, named = every[every["part"].isna()], every[every["part"].notna()]
    match what:
        case Shares():
            rows = rows.assign(part=[part_of(prompt, what) for prompt in rows["prompt_id"]])
        case ByCategory():
            rows = by_category(paired(run, what, rows, pairs), what)
        case Given():
            rows, named = every, every[:0]
    rows = given(pd.concat([rows, named]).sort_values("prompt_id", kind="stable"))
    sizes = {part: int((rows["part"] == part).sum()) for part in PARTS}
    for part, size in sizes.items():
        if not size:
            raise BadInput(f"split.{part}: {getattr(what, part, 'given')} of {len(rows)} prompts leaves none")
    run.count(rows=len(rows), **sizes)
    write(run, rows, SPLIT, "splits.parquet")


def part_of(prompt: str, what: Shares) -> str:
    """Where a uniform hash of the prompt's id falls among the shares."""
    place = hashed(what.seed, prompt) / 2**64
    if place < what.sft:
        return "sft"
    return "preference" if place < what.sft + what.preference or not what.held_out else "held_out"


def hashed(seed: int, prompt: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{prompt}".encode(), digest_size=8).digest())


def paired(run: Run, what: ByCategory, rows: pd.DataFrame, pairs: Manifests) -> pd.DataFrame:
    """Without the prompts that leave no pair, in the categories where that counts."""
    if not what.pairable:
        return rows
    if not pairs:
        raise BadInput("split.pairable: asks for pairs before splitting, and none are given")
    made = pd.read_parquet(run.file(pairs[0], "pairs.parquet"), columns=["prompt_id"])["prompt_id"]
    lost = rows["category"].isin(what.pairable) & ~rows["prompt_id"].isin(made)
    run.count(dropped_without_pair=int(lost.sum()))
    return rows[~lost]


def by_category(rows: pd.DataFrame, what: ByCategory) -> pd.DataFrame:
    if rows.empty:
        return rows
    hashes = pd.Series([hashed(what.seed, prompt) for prompt in rows["prompt_id"]], rows.index, dtype="uint64")
    ordered = rows.assign(hash=hashes).sort_values(["category", "hash", "prompt_id"])
    place = ordered.groupby("category").cumcount()
    category = ordered["category"]
    sizes = category.value_counts()
    held_out = sizes.map(lambda size: floor_of(what.held_out, size))
    sft = pd.Series(
        {name: floor_of(what.shares.get(name, what.sft), sizes[name] - held_out[name]) for name in sizes.index}
    )
    first, second = category.map(held_out), category.map(held_out + sft)
    part = pd.Series("preference", ordered.index).mask(place < second, "sft").mask(place < first, "held_out")
    return rows.assign(part=part)


def floor_of(share: float, size: int) -> int:
    """floor(share × size) of the share as it is written: 0.29 × 100 is 29, though not in binary."""
    return int(Fraction(str(share)) * int(size))


def given(rows: pd.DataFrame) -> pd.DataFrame:
    unknown = rows[~rows["part"].isin(PARTS)]
    if len(unknown):
        first = unknown.iloc[0]
        raise BadInput(
            f"split.kind: {len(unknown)} of {len(rows)} prompts name no part ({', '.join(PARTS)}), the first "
            f"{first['prompt_id'][:12]} has {first['part']!r}"
        )
    return rows
