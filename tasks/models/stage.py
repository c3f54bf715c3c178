"""The stage that obtains a model: `model/` (weights and tokenizer), or `hub.json` (a hub model and its pinned revision).

Makes the demo's tiny models from a seed, and copies a local model folder into the store, so that every worker has it.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.execution import Run
from tasks.models.served import ProgramAt, ProgramIdentity, ScoringFile, Served
from tasks.models.weights import find_classifier_problem, find_damage, read_model_json
from tasks.stage import Exact, How, Seed, What, stage

SLOT = "pin-me"  # placeholder for a value that the recipe's user must set; such a recipe can be loaded, but not planned or run
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


class Tiny(What):
    """Settings of the demo's models: small Llamas, made from a seed in seconds."""

    hidden: int = Field(default=128, gt=0, le=8192, multiple_of=8)
    layers: int = Field(default=2, gt=0, le=64)
    steps: int = Field(gt=0)
    batch_size: int = Field(default=128, gt=0, le=65_536)
    learning_rate: float = Field(default=3e-3, gt=0)
    seed: Seed

    @property
    def title(self) -> str:
        return "tiny"

    def resolve(self, field: str) -> dict:
        return {"what": self}


class TinyGenerator(Tiny):
    """A causal language model that has learned some skills more than others."""

    kind: Literal["tiny"]
    skills: dict[Literal["copy", "flip", "sort", "next", "back", "roll"], Annotated[float, Field(ge=0)]] = Field(
        min_length=1,
        description="relative frequency of each skill in the training; 0 or absent: the skill does not occur",
    )
    noise: float = Field(default=0.0, ge=0, le=1, description="share of training examples with another skill's answer")


class TinyReward(Tiny):
    """A one-logit classifier that has learned to tell good answers from bad ones."""

    kind: Literal["tiny-reward"]


class FolderIdentity(What):
    """The identity of a folder's model: its files' content, but not the folder's path."""

    kind: Literal["folder"]
    files: dict[str, str]  # name -> sha256


class FolderAt(How):
    path: str


class ModelFolder(Exact):
    """A model in a local folder, in the format of `save_pretrained`: safetensors, config and tokenizer."""

    kind: Literal["folder"]
    path: str

    @property
    def title(self) -> str:
        return Path(self.path).name

    def resolve(self, field: str) -> dict:
        folder = Path(self.path)
        check_folder(field, folder)
        files = {file.relative_to(folder).as_posix(): file_digest(file) for file in model_files(folder)}
        return {"what": FolderIdentity(kind="folder", files=files), "how": FolderAt(path=str(folder.absolute()))}


class HubModel(What):
    """A model on a hub, at a pinned revision."""

    kind: Literal["hub"]
    id: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
    revision: str = Field(pattern=f"^([0-9a-f]{{40}}|{SLOT})$", description=f"a commit, not a branch; or {SLOT}")

    @property
    def title(self) -> str:
        return self.id.rpartition("/")[2]

    def resolve(self, field: str) -> dict:
        for name, value in (("id", self.id), ("revision", self.revision)):
            if value == SLOT:
                raise BadInput(
                    f"{field}.{name}: {SLOT!r} is only a placeholder; set a value with --set {field}.{name}=…"
                )
        return {"what": self}


class Existing(What):
    """A source that is not a model: the responses that came with the prompts."""

    kind: Literal["existing"]

    def resolve(self, field: str) -> dict:
        return {"what": self}


GeneratorSource = Annotated[TinyGenerator | ModelFolder | HubModel, Field(discriminator="kind")]
SourceModel = Annotated[TinyGenerator | ModelFolder | HubModel | Existing, Field(discriminator="kind")]
RewardSource = Annotated[TinyReward | ModelFolder | HubModel | Served | ScoringFile, Field(discriminator="kind")]
Obtained = TinyGenerator | TinyReward | FolderIdentity | HubModel | Existing | Served | ProgramIdentity


@stage("model", version="1")
def obtain_model(run: Run, what: Obtained, how: How) -> None:
    match what:
        case TinyGenerator() | TinyReward():
            run.keep(run.program("tasks.demo.pretrain", {"what": what.model_dump(mode="json")}), "model")
        case HubModel():
            (run.folder / "hub.json").write_text(json.dumps({"repository": what.id, "revision": what.revision}))
        case Existing():
            (run.folder / "existing.json").write_text("{}")
        case FolderIdentity():
            take_folder(Path(cast(FolderAt, how).path), what.files, run.folder / "model")
        case Served():
            (run.folder / "model").mkdir()
            (run.folder / "model" / "served.json").write_text(json.dumps({"id": what.id}))
        case ProgramIdentity():
            take_folder(
                Path(cast(ProgramAt, how).path).parent, {what.name: what.sha256}, run.folder / "model" / "program"
            )
            (run.folder / "model" / "command.json").write_text(json.dumps(what.command))


def take_folder(source: Path, files: dict[str, str], target: Path) -> None:
    for name, expected in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        if file_digest(target / name) != expected:
            raise BadInput(f"{source / name} changed while the run was being prepared; run it again")


def check_folder(field: str, folder: Path) -> None:
    """Checks a model folder without loading the model; raises BadInput with the first problem."""
    if not folder.is_dir():
        raise BadInput(f"{field}.path: there is no folder {str(folder)!r}")
    if not (folder / "config.json").is_file():
        raise BadInput(f"{field}.path: {str(folder)!r} has no config.json; it is not a model folder")
    if (folder / "adapter_config.json").exists():  # transformers would load the base model that this file names
        raise BadInput(
            f"{field}.path: {str(folder)!r} is an adapter: merge it into its base model, and give the merged model's folder"
        )
    if not list(folder.glob("*.safetensors")):
        raise BadInput(f"{field}.path: {str(folder)!r} has no *.safetensors weights (pickled weights are never loaded)")
    if problem := find_damage(folder):
        raise BadInput(f"{field}.path: {problem}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadInput(f"{field}.path: {str(folder)!r} has no tokenizer (one of {', '.join(TOKENIZER_FILES)})")
    for file in model_files(folder):
        if leads_out(file):
            raise BadInput(
                f"{field}.path: {file} is a link to {file.resolve()}: replace the link by a copy, or remove it"
            )


def leads_out(file: Path) -> bool:
    """Refuses links, because a link could copy any file of this machine into the shared store. Links within the hub's cache
    are allowed: they lead to its blobs."""
    folder, target = file.parent.resolve(), file.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    return not any(target.is_relative_to(place) for place in (folder, blobs))


def check_classifier(field: str, model: ModelFolder) -> None:
    """Raises BadInput if the config names no sequence classifier: the head of another model would be untrained."""
    if problem := find_classifier_problem(read_model_json(Path(model.path) / "config.json")):
        raise BadInput(f"{field}.path: {model.path!r} is no sequence classifier: {problem}")


def model_files(folder: Path) -> list[Path]:
    """The files that belong to a model: no pickles, no hidden files, no subfolders."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and re.fullmatch(r"[^.].*\.(json|safetensors|model|txt|jinja)", file.name)
    )
