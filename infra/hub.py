"""Downloads models and data sets from the hub, only at a pinned revision. Only this file uses the hub's libraries."""

import json
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from infra.errors import BadInput, Unavailable
from infra.settings import read_secret

FILES = [
    "*.safetensors",
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
]  # weights as safetensors only: a pickle is never loaded
TWICE = ["consolidated*", "original/*"]  # the same weights in their authors' own format


def local_copy(repository: str, revision: str, weights: bool = True) -> Path:
    """The model's folder in the hub's cache, without the weights if asked; downloads missing files."""
    from huggingface_hub import errors, snapshot_download  # here, since this import takes 1 s and a plan must be fast

    what = f"model {repository!r} at {revision[:12]}"
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=FILES[not weights :], ignore_patterns=TWICE)
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as problem:
        raise BadInput(f"{what}: {' '.join(str(problem).split())}") from problem
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as problem:
        raise Unavailable(
            f"{what}: not in the hub's cache, and the hub does not answer: {' '.join(str(problem).split())}"
        ) from problem


def describe_model(repository: str, revision: str) -> tuple[dict, float | None]:
    """The model's config.json, and the bytes of the weights that a run would download. From the hub's cache, otherwise from
    the hub's listing; empty and None where neither has them. Downloads config.json at most."""
    from huggingface_hub import HfApi, errors, hf_hub_download

    refused = (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError)
    config: dict = {}
    try:
        config = json.loads(Path(hf_hub_download(repository, "config.json", revision=revision)).read_text())
        listed = HfApi().model_info(repository, revision=revision, files_metadata=True).siblings or []
    except refused:
        return config, None
    sizes = [file.size or 0 for file in listed if is_weight(file.rfilename)]
    return config, float(sum(sizes)) or None


def is_weight(name: str) -> bool:
    """Whether a file of a repository is one of the weights that a run downloads."""
    return fnmatch(name, "*.safetensors") and not any(fnmatch(name, pattern) for pattern in TWICE)


def data_set(
    id: str, revision: str, config: str, split: str, files: Collection[str], columns: Collection[str], target: Path
) -> None:
    """Writes the wanted columns of one split of a data set to a Parquet file; downloads missing files."""
    import datasets

    datasets.disable_progress_bars()
    chosen: dict[str, Any] = {"data_files": {split: list(files)}} if files else {}
    try:
        found = datasets.load_dataset(
            id, config or None, split=split, revision=revision, verification_mode="no_checks", **chosen
        )
    except (
        datasets.exceptions.DatasetsError,  # pyright: ignore[reportAttributeAccessIssue]
        FileNotFoundError,
        ConnectionError,
        ValueError,
    ) as problem:
        reason = " ".join(f"{problem} {problem.__cause__ or ''}".split())
        raise BadInput(f"data set {id!r} at {revision[:12]}: {reason}") from problem
    rows = cast("datasets.Dataset", found)  # load_dataset returns this type for one split that is not streamed
    rows.select_columns([name for name in rows.column_names if name in columns] or rows.column_names).to_parquet(target)


def data_file(id: str, revision: str, name: str) -> Path:
    """The path in the hub's cache of one file of a data set's repository; downloads it if missing."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(id, name, repo_type="dataset", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as problem:
        reason = " ".join(str(problem).split())
        raise BadInput(f"data set {id!r} at {revision[:12]} cannot deliver the file {name}: {reason}") from problem


def upload_folder(folder: Path, name: str, kind: str, private: bool) -> str:
    """Uploads a folder as one commit to a repository of `kind` (model or dataset), which is created if it is missing. The key is
    the variable HF_TOKEN, the hub's address HF_ENDPOINT. Returns the commit's address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi(token=read_secret("HF_TOKEN"))
    try:
        api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        made = api.upload_folder(
            repo_id=name, folder_path=folder, repo_type=kind, commit_message="Upload from fuse publish"
        )
    except HFValidationError as problem:
        raise BadInput(f"--name {name!r}: {' '.join(str(problem).split())}") from problem
    except HfHubHTTPError as problem:
        raise Unavailable(f"{kind} {name!r}: the hub refuses: {' '.join(str(problem).split())}") from problem
    return str(made.commit_url)
