"""The identity of a selection of prompts, without file paths: it is hashed into the address and given to the program."""

from typing import Literal

from pydantic import Field

from tasks.prompts.columns import Columns
from tasks.prompts.filters import Filter
from tasks.stage import What

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class FileIdentity(What):
    """The identity of a file of prompts: its content, but not its path."""

    kind: Literal["file"]
    sha256: str
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = "refuse"


class HubIdentity(What):
    """A data set on a hub: one split of one configuration, at a commit."""

    kind: Literal["hub"]
    id: str
    revision: str
    config: str = ""
    split: str = "train"
    files: tuple[str, ...] = ()
    columns: Columns = Columns()
    bad_rows: Literal["refuse", "drop"] = "refuse"


class SetChoice(What):
    """The choice of prompts from a set. `limit` keeps the lowest ids: ids are hashes, so this is a random sample that does not
    depend on the order of the rows. It applies before near-duplicates and contamination, to bound the work of these."""

    name: str = Field(pattern=NAME)
    category: str = Field(default="", description="the category of prompts whose row has no category")
    part: Literal["sft", "preference", "held_out"] | None = Field(
        default=None, description="assigns all prompts of the set to this part of the split; held_out for a test set"
    )
    limit: int | None = Field(default=None, gt=0)
    filters: tuple[Filter, ...] = ()


class SetIdentity(SetChoice):
    source: FileIdentity | HubIdentity = Field(discriminator="kind")


class NearDuplicates(What):
    """Keeps only the first of prompts with similar sets of three-word shingles (Jaccard similarity)."""

    similarity: float = Field(
        default=0.7, ge=0.5, le=1, description="at least 0.5: below it, MinHash's bands would miss some pairs"
    )


class BenchmarkIdentity(What):
    name: str = Field(pattern=NAME)
    sha256: str
    text: str
    id: str = ""


class Deciding(What):
    """When a prompt counts as contaminated by a benchmark's item, and what to do with it."""

    action: Literal["drop", "report"] = "drop"
    containment: float = Field(
        default=0.3, gt=0, le=1, description="share of the item's 8-grams that the prompt contains"
    )
    similarity: float = Field(default=0.5, ge=0.5, le=1, description="Jaccard similarity of three-word shingles")


class DecontaminationIdentity(Deciding):
    benchmarks: tuple[BenchmarkIdentity, ...] = Field(min_length=1)


class SelectionIdentity(What):
    """Sets in order: an equal prompt of a later set is dropped. Then come contamination and near-duplicates, over all sets."""

    kind: Literal["sets"]
    sets: tuple[SetIdentity, ...] = Field(min_length=1)
    near_duplicates: NearDuplicates | None = None
    decontamination: DecontaminationIdentity | None = None
