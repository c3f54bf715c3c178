"""What a selection of prompts is, wherever its bytes lie: this, and nothing else, is hashed and given to the program."""

from typing import Literal

from pydantic import Field

from tasks.prompts.columns import Columns
from tasks.prompts.filters import Filter
from tasks.stage import What

NAME = "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$"


class FileIdentity(What):
    """A file of prompts is what stands in it, wherever it lies."""

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


class Choosing(What):
    """What is taken of a set. `limit` takes those of the lowest ids: ids are hashes, so it is a fair sample, whatever the
    order of the rows. It counts before near-duplicates and contaminated prompts go, so that it also bounds that work."""

    name: str = Field(pattern=NAME)
    category: str = Field("", description="of prompts whose row has none")
    part: Literal["sft", "preference", "held_out"] | None = Field(
        None, description="all its prompts serve this, whatever the split says: held_out for a test set of its own"
    )
    limit: int | None = Field(None, gt=0)
    filters: tuple[Filter, ...] = ()


class SetIdentity(Choosing):
    source: FileIdentity | HubIdentity = Field(discriminator="kind")


class NearDuplicates(What):
    """Of prompts whose sets of three-word shingles are this similar (Jaccard), the first one stays."""

    similarity: float = Field(0.7, ge=0.5, le=1, description="below .5 MinHash's bands would miss some")


class BenchmarkIdentity(What):
    name: str = Field(pattern=NAME)
    sha256: str
    text: str
    id: str = ""


class Deciding(What):
    """When a prompt counts as contaminated by a benchmark's item, and what happens to it then."""

    action: Literal["drop", "report"] = "drop"
    containment: float = Field(0.3, gt=0, le=1, description="share of the item's 8-grams that stand in the prompt")
    similarity: float = Field(0.5, ge=0.5, le=1, description="Jaccard similarity of three-word shingles")


class DecontaminationIdentity(Deciding):
    benchmarks: tuple[BenchmarkIdentity, ...] = Field(min_length=1)


class SelectionIdentity(What):
    """Sets in order: of equal prompts the first set has it. Then near-duplicates of all sets, then contamination."""

    kind: Literal["sets"]
    sets: tuple[SetIdentity, ...] = Field(min_length=1)
    near_duplicates: NearDuplicates | None = None
    decontamination: DecontaminationIdentity | None = None
