"""Checkpoints of work that is not finished, in the store under its address: files under content names, a marker last.

No marker: it did not happen. Only the holder of the work's lease writes here; the newest two are kept, and none once
the artifact stands.
"""

import json
import shutil
from pathlib import Path

from infra.blobs import Blobs
from infra.errors import CorruptArtifact
from infra.names import measure


class Checkpoints:
    def __init__(self, blobs: Blobs, address: str):
        self.blobs, self.root = blobs, f"_checkpoints/{address}"

    def keep(self, folder: Path, name: str) -> None:
        """Bytes first, marker last; `name` orders checkpoints by age."""
        files = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            with file.open("rb") as stream:
                size, sha256 = measure(stream)
            inside = file.relative_to(folder).as_posix()
            files[inside] = {"path": f"{self.root}/data/{sha256[:20]}/{inside}", "size": size, "sha256": sha256}
            self.blobs.put_file(file, files[inside]["path"])
        self.blobs.create(f"{self.root}/{name}.json", json.dumps(files, sort_keys=True, indent=1).encode())

    def names(self) -> list[str]:
        """The complete ones, oldest first."""
        found = (path.removeprefix(f"{self.root}/") for path in self.blobs.list(self.root))
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json") and "/" not in name)

    def fetch(self, name: str, folder: Path) -> None:
        """All its files, their sha256 checked."""
        for inside, entry in self._files(name).items():
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            if local := self.blobs.local(entry["path"]):
                shutil.copyfile(local, target)
            else:
                self.blobs.get_file(entry["path"], target)
            with target.open("rb") as stream:
                if measure(stream) != (entry["size"], entry["sha256"]):
                    raise CorruptArtifact(
                        f"{self.blobs.url}/{entry['path']}: damaged; delete {self.root} to start anew"
                    )

    def drop(self, keep: int = 0) -> None:
        """All but the newest `keep`: markers first, then whatever no marker names."""
        names = self.names()
        for name in names[: len(names) - keep] if keep else names:
            self.blobs.delete(f"{self.root}/{name}.json")
        kept = self.names()
        needed = {entry["path"] for name in kept for entry in self._kept(name).values()}
        for path in self.blobs.list(self.root):
            if path not in needed and path.removeprefix(f"{self.root}/") not in {f"{name}.json" for name in kept}:
                self.blobs.delete(path)

    def _kept(self, name: str) -> dict[str, dict]:
        """Nothing where a second holder of the lease has dropped it since."""
        try:
            return self._files(name)
        except FileNotFoundError:
            return {}

    def _files(self, name: str) -> dict[str, dict]:
        return json.loads(self.blobs.read(f"{self.root}/{name}.json"))
