"""Models and data sets that live on a hub: the one file that knows its libraries. Nothing comes without a pinned revision."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from infra.errors import BadInput, Unavailable

FILES = [
    "*.safetensors",
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
]  # weights as safetensors only: a pickle is never loaded


def local_copy(repository: str, revision: str, weights: bool = True) -> Path:
    """The model's folder in the hub's own cache, or all of it but the weights; downloads what is not there yet."""
    from huggingface_hub import errors, snapshot_download  # 1 s of import that a plan must not pay

    what = f"model {repository!r} at {revision[:12]}"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES[not weights :]))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as problem:
        raise BadInput(f"{what}: {' '.join(str(problem).split())}") from problem
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as problem:
        raise Unavailable(
            f"{what}: not in the hub's cache, and the hub does not answer: {' '.join(str(problem).split())}"
        ) from problem


def data_set(
    id: str, revision: str, config: str, split: str, files: Collection[str], columns: Collection[str], target: Path
) -> None:
    """One split of a data set as a Parquet file, of its columns those wanted; downloads what the hub's cache has not."""
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
        said = " ".join(f"{problem} {problem.__cause__ or ''}".split())
        raise BadInput(f"data set {id!r} at {revision[:12]}: {said}") from problem
    rows = cast("datasets.Dataset", found)  # of one split, and not streamed
    rows.select_columns([name for name in rows.column_names if name in columns] or rows.column_names).to_parquet(target)


def data_file(id: str, revision: str, name: str) -> Path:
    """One file of a data set's repository, in the hub's own cache; downloads it unless it is there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(id, name, repo_type="dataset", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError) as problem:
        said = " ".join(str(problem).split())
        raise BadInput(f"data set {id!r} at {revision[:12]} gives no {name}: {said}") from problem
