"""The workspace of a run: its store and its launcher of programs, from the settings; and copies of reports."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from infra.errors import BadInput
from infra.launch import Launcher
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks.report.stage import Report
from tasks.stage import Step

STAGE_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Workspace:
    store: Store
    launcher: Launcher
    workspace: Path

    @classmethod
    def from_settings(cls) -> "Workspace":
        chosen = settings()
        for folder in (chosen.workspace, *chosen.workspace.absolute().parents):
            if os.path.lexists(folder) and not folder.is_dir():
                raise BadInput(
                    f"FUSE_WORKSPACE: cannot create {chosen.workspace}: {folder} exists and is not a directory"
                )
        return cls(Store(chosen.store_url, chosen.workspace / "cache"), Launcher(), chosen.workspace)

    def numbers(self, report: Step) -> dict:
        return json.loads((self._files(report, "numbers.json") / "numbers.json").read_text())

    def report(self, report: Step) -> Path:
        """Copies the report from the store into the workspace; returns the copy's path."""
        target = (
            self.workspace / "reports" / f"{cast('Report', report.what).recipe['name']}-{report.fingerprint[:8]}.html"
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._files(report, "report.html") / "report.html", target)
        return target

    def _files(self, report: Step, name: str) -> Path:
        manifest = self.store.manifest(report.stage.name, report.fingerprint)
        assert manifest is not None  # the report was found or made before
        return self.store.fetch(manifest, [name])


def find_artifact(address: str, store: Store) -> Manifest | None:
    """The artifact at `stage/fingerprint`; the beginning of the fingerprint is enough. None if this is not an address."""
    stage, slash, beginning = address.partition("/")
    if not slash or Path(address).is_file():
        return None
    if not stage or not beginning or set(stage) - STAGE_CHARACTERS or set(beginning) - set("0123456789abcdef"):
        raise BadInput(f"{address}: neither a recipe's file nor an artifact's address, for example wrpo/1f3a")
    found = store.manifests(stage, beginning)
    if len(found) != 1:
        raise BadInput(
            f"{address}: {len(found) or 'no'} artifact{'s' * (len(found) > 1)} of stage {stage!r} "
            f"{'have' if found else 'has'} a fingerprint that begins so"
        )
    return found[0]
