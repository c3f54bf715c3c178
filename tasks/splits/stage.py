"""The stage that splits the prompts: `splits.parquet` assigns prompts to SFT, to preference pairs or to evaluation.

A prompt has at most one part, so the parts are disjoint.
"""

import hashlib
from fractions import Fraction
from typing import Annotated, Literal, cast

import pandas as pd
from pydantic import Field, model_validator

from infra.errors import BadInput
from infra.manifest import Manifest
from tasks.execution import Run
from tasks.records import SPLIT
from tasks.rows.pool import write_table
from tasks.stage import How, Seed, What, stage

PARTS = ("sft", "preference", "held_out")
Manifests = tuple[Manifest, ...]


class Shares(What):
    """Shares of the prompts. A prompt's part depends only on its id and the seed: new prompts never move old ones.

    Therefore the sizes are only approximately the shares. For exact sizes, which depend on all prompts, see `by-category`.
    """

    kind: Literal["shares"]
    sft: float = Field(
        gt=0,
        lt=1,
        description="share for SFT: the target is fine-tuned on the sources' best responses to these prompts",
    )
    preference: float = Field(gt=0, lt=1, description="share for the preference pairs")
    held_out: float = Field(
        ge=0, lt=1, description="share that is used only for the evaluation; 0 if a whole set of prompts is held out"
    )
    seed: Seed

    @model_validator(mode="after")
    def whole(self) -> "Shares":
        if abs(self.sft + self.preference + self.held_out - 1) > 1e-6:
            raise ValueError(f"sft + preference + held_out is {self.sft + self.preference + self.held_out:g}, not 1")
        return self


class ByCategory(What):
    """Exact sizes within each category, as in FuseChat-3.0. The N prompts of a category are ordered by their hashes: the
    first floor(held_out N) are held out; of the remaining M, the first floor(sft M) are for SFT, the others for pairs.

    New prompts of a category may move old ones, because the sizes depend on N.
    """

    kind: Literal["by-category"]
    held_out: float = Field(
        ge=0,
        lt=1,
        description="share of each category that is used only for the evaluation; 0 if a whole set of prompts is held out",
    )
    sft: float = Field(
        ge=0, le=1, description="share for SFT of the prompts that are not held out; FuseChat-3.0 uses 0.4"
    )
    shares: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="SFT shares of single categories: category -> share"
    )
    pairable: tuple[str, ...] = Field(
        default=(),
        description="categories in which only prompts with a pair of source responses are counted and used",
    )
    seed: int


class GivenParts(What):
    """Every prompt states its part (the field `part` of the prompts)."""

    kind: Literal["given"]


SplitRule = Annotated[Shares | ByCategory | GivenParts, Field(discriminator="kind")]


@stage("splitting", version="3")
def split_prompts(
    run: Run, what: Shares | ByCategory | GivenParts, how: How, prompts: Manifests, pairs: Manifests = ()
) -> None:
    """Assigns a part to every prompt. `pairs`: pairs of source responses for all prompts, needed if `pairable` is set. A
    prompt that states its part (for example of a held-out set) keeps it under every rule."""
    all_rows = pd.read_parquet(run.file(prompts[0], "prompts.parquet"), columns=["prompt_id", "category", "part"])
    rows, fixed = all_rows[all_rows["part"].isna()], all_rows[all_rows["part"].notna()]
    match what:
        case Shares():
            rows = rows.assign(part=[choose_part(prompt, what) for prompt in rows["prompt_id"]])
        case ByCategory():
            rows = by_category(drop_unpaired(run, what, rows, pairs), what)
        case GivenParts():
            rows, fixed = all_rows, all_rows[:0]
    rows = read_given_parts(pd.concat([rows, fixed]).sort_values("prompt_id", kind="stable"))
    sizes = {part: int((rows["part"] == part).sum()) for part in PARTS}
    for part, size in sizes.items():
        if not size:
            share = getattr(what, part, None)
            empty = f"a share of {share} of {len(rows)} prompts is empty; add prompts or raise the share"
            raise BadInput(f"split.{part}: {'no prompt has this part' if share is None else empty}")
    run.count(rows=len(rows), **sizes)
    write_table(run, rows, SPLIT, "splits.parquet")


def choose_part(prompt: str, what: Shares) -> str:
    """The part whose share contains the uniform hash of the prompt's id."""
    place = hash_prompt(what.seed, prompt) / 2**64
    if place < what.sft:
        return "sft"
    return "preference" if place < what.sft + what.preference or not what.held_out else "held_out"


def hash_prompt(seed: int, prompt: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{prompt}".encode(), digest_size=8).digest())


def drop_unpaired(run: Run, what: ByCategory, rows: pd.DataFrame, pairs: Manifests) -> pd.DataFrame:
    """The rows without the prompts that have no pair, in the categories of `pairable`."""
    if not what.pairable:
        return rows
    if not pairs:
        raise BadInput("split.pairable: needs pairs that were built before the split, but there are none")
    made = pd.read_parquet(run.file(pairs[0], "pairs.parquet"), columns=["prompt_id"])["prompt_id"]
    lost = rows["category"].isin(what.pairable) & ~rows["prompt_id"].isin(made)
    run.count(dropped_without_pair=int(lost.sum()))
    return rows[~lost]


def by_category(rows: pd.DataFrame, what: ByCategory) -> pd.DataFrame:
    if rows.empty:
        return rows
    hashes = pd.Series([hash_prompt(what.seed, prompt) for prompt in rows["prompt_id"]], rows.index, dtype="uint64")
    ordered = rows.assign(hash=hashes).sort_values(["category", "hash", "prompt_id"])
    place = ordered.groupby("category").cumcount()
    category = ordered["category"]
    sizes = category.value_counts()
    held_out = sizes.map(lambda size: floor_of(what.held_out, cast(int, size)))
    sft = pd.Series(
        {name: floor_of(what.shares.get(name, what.sft), sizes[name] - held_out[name]) for name in sizes.index}
    )
    first, second = category.map(held_out), category.map(held_out + sft)
    part = pd.Series("preference", ordered.index).mask(place < second, "sft").mask(place < first, "held_out")
    return rows.assign(part=part)


def floor_of(share: float, size: int) -> int:
    """floor(share × size), computed with the decimal share: 0.29 × 100 is 29, but less in binary floating point."""
    return int(Fraction(str(share)) * int(size))


def read_given_parts(rows: pd.DataFrame) -> pd.DataFrame:
    unknown = rows[~rows["part"].isin(PARTS)]
    if len(unknown):
        first = unknown.iloc[0]
        raise BadInput(
            f"split.kind: {len(unknown)} of {len(rows)} prompts have no valid part ({', '.join(PARTS)}); the first is "
            f"{first['prompt_id'][:12]} with part {first['part']!r}"
        )
    return rows
