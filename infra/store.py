"""Stores artifacts: files named by their hash, then one manifest, written last and once. An artifact without a manifest
does not count.

Pools hold rows in parts. Each part is complete or absent: its name holds its sha256 and row count.
"""

import copy
import os
import re
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from infra.blobs import Blobs, Fence
from infra.errors import BadInput, CorruptArtifact
from infra.folder import draft_of, seal_file
from infra.manifest import FileEntry, Manifest, NewerManifest, content_of
from infra.names import measure_stream

REQUESTS = 16  # number of small requests at the same time
PART = re.compile(r"([0-9a-f]{64})-([0-9]+)\.parquet")


class Store:
    def __init__(self, url: str, cache: Path, options: dict | None = None):
        self.blobs = Blobs(url, options)
        self.cache = Path(cache).absolute()
        self._verified: set[tuple] = set()

    def fenced(self, fence: Fence) -> "Store":
        """The same store for the holder of a lease: each write first checks `fence`."""
        fenced = copy.copy(self)
        fenced.blobs = self.blobs.fenced(fence)
        return fenced

    def probe(self) -> None:
        self.blobs.probe()
        self.blobs.drop_uploads()

    def manifest(self, stage: str, fingerprint: str) -> Manifest | None:
        path = f"{_artifact(stage, fingerprint)}/MANIFEST.json"
        try:
            raw = self.blobs.read(path)
        except FileNotFoundError:
            return None
        try:
            found = Manifest.parse(raw)
        except NewerManifest as error:
            raise BadInput(f"{self.blobs.url}/{path}: {error}") from error
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CorruptArtifact(f"{self.blobs.url}/{path}: not a valid manifest: {reason}") from error
        if (found.stage, found.fingerprint) != (stage, fingerprint):
            raise CorruptArtifact(f"{self.blobs.url}/{path}: is the manifest of {found.stage}/{found.fingerprint}")
        return found

    def manifests(self, stage: str, beginning: str = "", newest: int | None = None) -> list[Manifest]:
        """The readable manifests of a stage whose fingerprint starts with `beginning`. Skips corrupt ones; the step that
        needs one reports it. `newest` limits their number, since each costs a request and a bucket may hold thousands."""
        held = {}
        for path, (_, written) in self.blobs.entries(_stage(stage)).items():
            if match := re.fullmatch(rf"{stage}/({beginning}[0-9a-f]*)/MANIFEST\.json", path):
                held[match[1]] = written
        chosen = sorted(sorted(held, key=held.__getitem__, reverse=True)[:newest])
        with ThreadPoolExecutor(REQUESTS) as pool:
            return [found for found in pool.map(lambda each: self._readable(stage, each), chosen) if found]

    def _readable(self, stage: str, fingerprint: str) -> Manifest | None:
        try:
            return self.manifest(stage, fingerprint)
        except BadInput:
            return None

    def publish(self, folder: Path, draft: Manifest) -> Manifest:
        """Writes the files first and the manifest last. If another process published first, returns its manifest."""
        Manifest.parse(draft.render())  # a value that JSON cannot hold fails here, before any upload
        root = _artifact(draft.stage, draft.fingerprint)
        if found := self.manifest(draft.stage, draft.fingerprint):
            return found
        entries = {entry.name: entry for entry in draft.files}
        for file in _files(folder):
            name = file.relative_to(folder).as_posix()
            if name in entries:
                raise ValueError(f"{root}: the file {name} is in the folder and in a pool")
            size, sha256 = _measure(file)
            path = f"{root}/data/{sha256[:20]}/{name}"
            self.blobs.put_file(file, path)
            entries[name] = FileEntry(name=name, path=path, sha256=sha256, size=size)
        complete = draft.model_copy(update={"files": tuple(entries[name] for name in sorted(entries))})
        self.blobs.create(f"{root}/MANIFEST.json", complete.render())
        found = self.manifest(draft.stage, draft.fingerprint)  # ours, or that of a faster process
        if found is None:
            raise RuntimeError(
                f"{self.blobs.url}/{root}/MANIFEST.json: another process deleted it as soon as it was written"
            )
        return found

    def fetch(self, manifest: Manifest, names: Collection[str] | None = None) -> Path:
        """A local folder with exactly these files, as links to verified files in the store or in the cache."""
        entries = [entry for entry in manifest.files if names is None or entry.name in names]
        if missing := set(names or ()) - {entry.name for entry in entries}:
            raise KeyError(f"{manifest.stage}/{manifest.fingerprint} has no file {sorted(missing)}")
        folder = self.cache / "folders" / _stage(manifest.stage) / content_of(entries)[:20]
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            _link(folder / entry.name, self._verified_file(entry))
        return folder

    def verify(self, manifest: Manifest) -> list[str]:
        """Reads all stored bytes again; returns one error message per damaged or missing file."""
        return [problem for entry in manifest.files if (problem := self.problem(entry))]

    def problem(self, entry: FileEntry) -> str | None:
        """Reads a file's stored bytes again, without the cache of verified files; returns an error message or None."""
        try:
            size, sha256 = self.blobs.digest(entry.path)
        except FileNotFoundError:
            size, sha256 = None, ""
        return self._problem(entry, size, sha256)

    def restore(self, entry: FileEntry) -> bool:
        """Replaces a damaged file by the copy in this machine's cache; False if there is no intact copy."""
        cached = self.cache / "objects" / entry.path
        if self._file_problem(cached, entry):
            return False
        self.blobs.delete(entry.path)  # `put_file` skips an object of the same size
        self.blobs.put_file(cached, entry.path)
        return self.problem(entry) is None

    def discard(self, stage: str, fingerprint: str) -> None:
        """Deletes an artifact, its manifest first. The caller must ensure that no run needs or makes it."""
        root = _artifact(stage, fingerprint)
        self.blobs.delete(f"{root}/MANIFEST.json")
        for path in self.blobs.list(root):
            self.blobs.delete(path)

    def append(self, pool: str, file: Path, rows: int) -> FileEntry:
        """Adds one finished part. It needs no marker, since its name holds its hash."""
        size, sha256 = _measure(file)
        if size == 0 or rows < 0:
            raise ValueError(f"{file}: {size} bytes with {rows} rows is not a part of a pool")
        entry = _part(f"{_pool(pool)}/{sha256}-{rows}.parquet", size)
        self.blobs.put_file(file, entry.path)
        return entry

    def parts(self, pool: str) -> list[FileEntry]:
        """All complete parts, read from the listing only."""
        root = _pool(pool)
        found = sorted(self.blobs.list(root).items())
        return [_part(path, size) for path, size in found if size and PART.fullmatch(path.removeprefix(f"{root}/"))]

    def fetch_part(self, entry: FileEntry) -> Path:
        return self._verified_file(entry)

    def fetch_parts(self, entries: Iterable[FileEntry]) -> Iterator[tuple[FileEntry, Path]]:
        """Fetches many parts in their order, several at the same time, since small parts cost mostly latency."""
        ahead = iter(entries)
        with ThreadPoolExecutor(REQUESTS) as threads:
            while some := list(islice(ahead, 4 * REQUESTS)):
                yield from zip(some, threads.map(self.fetch_part, some), strict=True)

    def _verified_file(self, entry: FileEntry) -> Path:
        """The local path of an entry's bytes. Checks their sha256 once per process and state of the file."""
        stored = self.blobs.local(entry.path)
        file = stored or self.cache / "objects" / entry.path
        problem = self._file_problem(file, entry)
        for _ in range(2):  # a second try, since damage during one download does not mean a corrupt artifact
            if not problem or stored:
                break
            with draft_of(file) as draft:
                try:
                    self.blobs.get_file(entry.path, draft)
                except FileNotFoundError:
                    break
                problem = self._file_problem(draft, entry)
                if not problem:
                    seal_file(draft)
                    os.replace(draft, file)
        if problem:
            raise CorruptArtifact(problem)
        return file

    def _file_problem(self, file: Path, entry: FileEntry) -> str | None:
        try:
            state = file.stat()
        except FileNotFoundError:
            return self._problem(entry, None, "")
        # Compares mtime and not ctime: `seal_file` and a rename change ctime, and a change of content changes mtime.
        known = (entry.sha256, entry.size, state.st_ino, state.st_size, state.st_mtime_ns)
        if known in self._verified:
            return None
        problem = self._problem(entry, *_measure(file))
        if not problem:
            self._verified.add(known)
        return problem

    def _problem(self, entry: FileEntry, size: int | None, sha256: str) -> str | None:
        where = f"{self.blobs.url}/{entry.path}"
        if size is None:
            return f"{where}: missing"
        if size != entry.size:
            return f"{where}: {entry.size} bytes expected, {size} found"
        if sha256 != entry.sha256:
            return f"{where}: sha256 {entry.sha256[:12]}… expected, {sha256[:12]}… found"
        return None


def _measure(file: Path) -> tuple[int, str]:
    with Path(file).open("rb") as stream:
        return measure_stream(stream)


def _files(folder: Path) -> list[Path]:
    walk = os.walk(folder, followlinks=True)  # a trainer may leave a link such as `last -> checkpoint-100`
    return sorted(Path(place, name) for place, _, names in walk for name in names)


def _part(path: str, size: int) -> FileEntry:
    name = path.rpartition("/")[2]
    match = PART.fullmatch(name)
    assert match is not None  # the callers checked or made the name
    sha256, rows = match.groups()
    return FileEntry(name=name, path=path, sha256=sha256, size=size, rows=int(rows))


def _link(link: Path, target: Path) -> None:
    with draft_of(link) as draft:
        draft.symlink_to(target)
        os.replace(draft, link)


def _segments(value: str, kind: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9_-]+)*", value):
        raise BadInput(f"{value!r} is not a {kind} name: use lower-case letters, digits, '_' and '-' between slashes")
    return value


def _stage(stage: str) -> str:
    if stage.startswith("_") or stage.partition("/")[0] == "pools":
        raise BadInput(f"{stage!r} is not a stage name: the store uses this name for other files")
    return _segments(stage, "stage")


def _pool(pool: str) -> str:
    return f"pools/{_segments(pool, 'pool')}"


def _artifact(stage: str, fingerprint: str) -> str:
    if not re.fullmatch(r"[0-9a-f]+", fingerprint):
        raise BadInput(f"{fingerprint!r} is not a fingerprint: a fingerprint has only hexadecimal digits")
    return f"{_stage(stage)}/{fingerprint}"
