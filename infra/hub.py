"""Models that live on a hub: the one file that knows its library. Nothing is fetched without a pinned revision."""

from pathlib import Path

FILES = [
    "*.safetensors",
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
]  # weights as safetensors only: a pickle is never loaded


def local_copy(repository: str, revision: str) -> Path:
    """The model's folder in the hub's own cache; downloads what is not there yet."""
    from huggingface_hub import snapshot_download  # 1 s of import that a plan must not pay

    return Path(snapshot_download(repository, revision=revision, allow_patterns=FILES))
