"""Where a run happens: its store and its programs, as the settings have it; and how the report comes out of the store."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.errors import BadInput
from infra.launch import Launcher
from infra.manifest import Manifest
from infra.settings import settings
from infra.store import Store
from tasks.stage import Step

STAGE_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Place:
    store: Store
    launcher: Launcher
    workspace: Path

    @classmethod
    def from_settings(cls) -> "Place":
        chosen = settings()
        for folder in (chosen.workspace, *chosen.workspace.absolute().parents):
            if os.path.lexists(folder) and not folder.is_dir():
                raise BadInput(f"FUSE_WORKSPACE: {chosen.workspace} cannot be a folder, {folder} is none")
        return cls(Store(chosen.store_url, chosen.workspace / "cache"), Launcher(), chosen.workspace)

    def numbers(self, report: Step) -> dict:
        return json.loads((self._files(report, "numbers.json") / "numbers.json").read_text())

    def report(self, report: Step) -> Path:
        """A copy of the report that a person finds and opens."""
        target = self.workspace / "reports" / f"{report.what.recipe['name']}-{report.fingerprint[:8]}.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._files(report, "report.html") / "report.html", target)
        return target

    def _files(self, report: Step, name: str) -> Path:
        return self.store.fetch(self.store.manifest(report.stage.name, report.fingerprint), [name])


def find_artifact(address: str, store: Store) -> Manifest | None:
    """The artifact `stage/fingerprint`, the fingerprint's beginning being enough; None if this is no address."""
    stage, slash, beginning = address.partition("/")
    if not slash or Path(address).is_file():
        return None
    if not stage or not beginning or set(stage) - STAGE_CHARACTERS or set(beginning) - set("0123456789abcdef"):
        raise BadInput(f"{address}: neither a recipe's file nor an artifact's address, as wrpo/1f3a would be")
    found = store.manifests(stage, beginning)
    if len(found) != 1:
        raise BadInput(
            f"{address}: {'no artifact' if not found else f'{len(found)} artifacts'} of stage {stage!r} "
            f"{'begins' if not found else 'begin'} so"
        )
    return found[0]
