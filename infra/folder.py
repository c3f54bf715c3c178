"""Stores blobs as files of a local folder: each is written to a draft, flushed, then linked or renamed into place."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from infra.errors import FULL, BadInput
from infra.names import DRAFT, measure_stream
from infra.store_group import explain_refusals, find_store_group, give_to_group, make_group_folder, raise_refusal

Confirm = Callable[[], object] | None  # raises LeaseLost if another process holds the lease that the write needs


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A path beside `target` for incomplete bytes; the draft is always deleted afterwards."""
    draft = target.parent / f"{DRAFT}{uuid4().hex}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(target)) from error  # an error of a write has no path
    finally:
        draft.unlink(missing_ok=True)


def seal_file(draft: Path) -> None:
    """Flushes a file to disk and makes it read-only, since programs read it through links."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o7555)
    finally:
        os.close(descriptor)


class FolderBlobs:
    """Blobs as files. Data is flushed as well: after a power cut a manifest must not exist without its files."""

    def __init__(self, root: Path, group: str = ""):
        self.root, self.group = root, find_store_group(group)

    @explain_refusals
    def local(self, path: str) -> Path:
        """The path of a blob; refuses folders, pipes and devices, since reading one fails or never ends."""
        file = self._inside(path)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(file.stat().st_mode):
                raise BadInput(f"{file}: is not a file")
        return file

    def _inside(self, path: str) -> Path:
        """The path under the root; refuses links that lead out of the store, since other users may have made them."""
        file = self.root / path
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(self.root)):
            raise BadInput(f"{file}: a link leads out of the store; remove the link")
        return file

    @explain_refusals
    def read(self, path: str) -> bytes:
        return self.local(path).read_bytes()

    @explain_refusals
    def digest(self, path: str) -> tuple[int, str]:
        with self.local(path).open("rb") as stream:
            return measure_stream(stream)

    @explain_refusals
    def create(self, path: str, data: bytes, confirm: Confirm) -> bool:
        target = self.local(path)
        with self._draft(target) as draft:
            draft.write_bytes(data)
            self._seal(draft)
            try:
                with self._confirmed(confirm):
                    os.link(draft, target)  # atomic and exclusive; rename and open(…, "x") are each only one of these
            except FileExistsError:
                return self.read(path) == data
        self._keep_names(target)
        return True

    @explain_refusals
    def put_file(self, local: Path, path: str, confirm: Confirm) -> None:
        target = self.local(path)
        if target.is_file() and target.stat().st_size == local.stat().st_size:
            return
        with self._draft(target) as draft:
            shutil.copyfile(local, draft)
            self._seal(draft)
            with self._confirmed(confirm):
                os.replace(draft, target)
        self._keep_names(target)

    @explain_refusals
    def get_file(self, path: str, local: Path) -> None:
        with draft_of(local) as draft:
            shutil.copyfile(self.local(path), draft)
            os.replace(draft, local)

    @explain_refusals
    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        found = {}
        for folder, _, names in os.walk(self._inside(prefix), onerror=raise_refusal):
            for file in (Path(folder, name) for name in names if not name.startswith(DRAFT)):
                try:
                    if not stat.S_ISREG((state := file.lstat()).st_mode):
                        continue
                    found[file.relative_to(self.root).as_posix()] = (state.st_size, state.st_mtime)
                except FileNotFoundError:
                    continue  # deleted since the listing
        return found

    @explain_refusals
    def age(self, path: str) -> float:
        """Compares with a file that is written now, since the file system's clock may differ from this machine's."""
        changed = self.local(path).stat().st_mtime
        with self._draft(self.root / "now") as draft:
            draft.touch()
            return draft.stat().st_mtime - changed

    @explain_refusals
    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        with self._locked():
            try:
                current = self.read(path)
            except FileNotFoundError:
                return False
            if current == old:
                self._replace(self.local(path), new)
            return current in (old, new)

    @explain_refusals
    def delete(self, path: str, confirm: Confirm) -> None:
        with self._locked():
            if confirm:
                confirm()
            self.local(path).unlink(missing_ok=True)

    def drop_uploads(self, older: float) -> None:
        """Deletes drafts that killed processes left; listings do not show them."""
        before = time.time() - older
        for folder, _, names in os.walk(self.root):
            for draft in (
                Path(folder, name) for name in names if re.fullmatch(f"{re.escape(DRAFT)}[0-9a-f]{{32}}", name)
            ):
                with contextlib.suppress(FileNotFoundError):  # its writer has just finished
                    if draft.stat().st_mtime <= before:
                        draft.unlink()

    def probe(self, path: str) -> None:
        """Tests nothing more: the trial writes in `Blobs.probe` are enough for a folder."""

    @contextmanager
    def _draft(self, target: Path) -> Iterator[Path]:
        """A draft in a folder of the store."""
        self._make(target.parent)
        with draft_of(target) as draft:
            yield draft

    def _make(self, folder: Path) -> None:
        """Creates the missing folders; in a shared store they are the group's."""
        if self.group is None or folder.is_dir():
            return  # draft_of creates folders that are this user's
        self.root.parent.mkdir(parents=True, exist_ok=True)
        for place in reversed((folder, *folder.parents)):
            if place.is_relative_to(self.root) and not place.exists():
                make_group_folder(place, self.group)

    def _seal(self, draft: Path) -> None:
        if self.group is not None:
            give_to_group(draft, self.group, 0o040)
        seal_file(draft)

    def _replace(self, target: Path, data: bytes) -> None:
        with self._draft(target) as draft:
            draft.write_bytes(data)
            self._seal(draft)
            os.replace(draft, target)
        self._keep_names(target)

    def _keep_names(self, target: Path) -> None:
        """Flushes the folders from `target` up to the root, so that its name survives a power cut."""
        for folder in target.parents:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if folder == self.root:
                return

    @contextmanager
    def _confirmed(self, confirm: Confirm) -> Iterator[None]:
        """Confirms the lease under the folder's lock, so that no other process can take it during the block."""
        if confirm is None:
            yield
            return
        with self._locked():
            confirm()
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_file().open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock_file(self) -> Path:
        self._make(self.root)
        self.root.mkdir(parents=True, exist_ok=True)
        file = self.root / f"{DRAFT}lock"
        if self.group is not None and not file.exists():
            with self._draft(file) as draft, contextlib.suppress(FileExistsError):
                draft.touch()
                give_to_group(draft, self.group, 0o060)  # the lock is opened for writing, since NFS demands it
                os.link(draft, file)
        return file
