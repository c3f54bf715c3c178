"""Named bytes under one address: a folder, or a bucket with S3's conditional writes. Nothing here knows what they mean.

Writes are atomic: a reader sees the old bytes or the new, never a part. `create` and `compare_and_swap` are
exclusive as well, which fsspec alone does not promise. BadInput: a person must act. StoreUnreachable: later may work.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from infra.errors import BadInput

BLOCK = 2**20
PART = 32 * BLOCK
DRAFT = ".draft-"


class StoreUnreachable(ConnectionError):
    """The store did not answer, or was too busy, for longer than its client's own retries last."""


def is_name(path: str) -> bool:
    """Whether `path` is a relative name that stays under its root and cannot be taken for a draft."""
    segments = path.split("/")
    bad = ("", ".", "..")
    return path.isprintable() and "\\" not in path and not any(s in bad or s.startswith(DRAFT) for s in segments)


def measure(stream: BinaryIO) -> tuple[int, str]:
    """(size, sha256) of what a stream still holds."""
    size, digest = 0, hashlib.sha256()
    while block := stream.read(BLOCK):
        size += len(block)
        digest.update(block)
    return size, digest.hexdigest()


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """A name beside `target` for bytes that are not complete yet; gone afterwards, whatever happens."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f"{DRAFT}{uuid4().hex}"
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def seal(draft: Path) -> None:
    """Flush to disk and take write permission away: programs read these files through links."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o7555)
    finally:
        os.close(descriptor)


class Folder:
    """Blobs as files. Data is flushed too: after a power cut a manifest must not outlive the bytes it vouches for."""

    def __init__(self, root: Path):
        self.root = root

    def local(self, path: str) -> Path:
        return self.root / path

    def read(self, path: str) -> bytes:
        return self.local(path).read_bytes()

    def digest(self, path: str) -> tuple[int, str]:
        with self.local(path).open("rb") as stream:
            return measure(stream)

    def create(self, path: str, data: bytes) -> bool:
        target = self.local(path)
        with draft_of(target) as draft:
            draft.write_bytes(data)
            seal(draft)
            try:
                os.link(draft, target)  # whole and exclusive at once, which neither rename nor open(…, "x") is
            except FileExistsError:
                return self.read(path) == data
        self._keep_names(target)
        return True

    def put_file(self, local: Path, path: str) -> None:
        target = self.local(path)
        if target.is_file() and target.stat().st_size == local.stat().st_size:
            return
        self._replace(target, lambda draft: shutil.copyfile(local, draft))

    def get_file(self, path: str, local: Path) -> None:
        with draft_of(local) as draft:
            shutil.copyfile(self.local(path), draft)
            os.replace(draft, local)

    def list(self, prefix: str) -> dict[str, int]:
        found = {}
        for folder, _, names in os.walk(self.local(prefix)):
            for file in (Path(folder, name) for name in names if not name.startswith(DRAFT)):
                try:
                    found[file.relative_to(self.root).as_posix()] = file.stat().st_size
                except FileNotFoundError:
                    continue  # deleted since the listing
        return found

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        with self._locked():
            try:
                current = self.read(path)
            except FileNotFoundError:
                return False
            if current == old:
                self._replace(self.local(path), lambda draft: draft.write_bytes(new))
            return current in (old, new)

    def delete(self, path: str) -> None:
        with self._locked():
            self.local(path).unlink(missing_ok=True)

    def probe(self, path: str) -> None:
        """Nothing of its own: the trial writes in `Blobs.probe` say it all."""

    def _replace(self, target: Path, fill: Callable[[Path], object]) -> None:
        with draft_of(target) as draft:
            fill(draft)
            seal(draft)
            os.replace(draft, target)
        self._keep_names(target)

    def _keep_names(self, target: Path) -> None:
        """Flush the folders from `target` up to the root, so that its name survives a power cut."""
        for folder in target.parents:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if folder == self.root:
                return

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{DRAFT}lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Bucket:
    """Blobs as S3 objects. Endpoint and credentials: s3fs's `options`, else what botocore reads from AWS_*."""

    def __init__(self, url: str, options: dict):
        import fsspec

        self.url = url
        self.bucket, _, self.folder = url.removeprefix("s3://").partition("/")
        connection = {
            "s3": {"addressing_style": "path"},
            "signature_version": "s3v4",
            "retries": {"max_attempts": 3, "mode": "standard"},
            "connect_timeout": 5,
            "read_timeout": 30,  # a contended conditional write may take 10 s
        }
        settings = {"use_listings_cache": False, "skip_instance_cache": True, "max_concurrency": 4, **options}
        settings["config_kwargs"] = connection | options.get("config_kwargs", {})
        self.files = fsspec.filesystem("s3", session=_session(options.get("profile")), **settings)

    def local(self, path: str) -> None:
        return None

    def read(self, path: str) -> bytes:
        return self._call("cat_file", self._full(path), max_concurrency=1)  # one GET: ranges of two versions never mix

    def digest(self, path: str) -> tuple[int, str]:
        def whole(full: str) -> tuple[int, str]:
            with self.files.open(full, "rb", block_size=8 * BLOCK, cache_type="readahead") as stream:
                return measure(stream)

        return self._call(whole, self._full(path))

    def create(self, path: str, data: bytes) -> bool:
        for _ in range(3):
            if self._put(path, data, mode="create"):
                return True
            try:
                return self.read(path) == data  # equal: an earlier try of ours whose answer was lost
            except FileNotFoundError:
                continue  # whoever was first has deleted it since
        return False

    def put_file(self, local: Path, path: str) -> None:
        size = local.stat().st_size
        try:
            if self._head(path)["ContentLength"] == size:
                return
        except FileNotFoundError:
            pass
        part = max(PART, -(-size // 10_000))  # an upload has at most 10 000 parts
        self._call("put_file", str(local), self._full(path), chunksize=part)

    def get_file(self, path: str, local: Path) -> None:
        with draft_of(local) as draft:
            self._call("get_file", self._full(path), str(draft), chunksize=PART)
            os.replace(draft, local)

    def list(self, prefix: str) -> dict[str, int]:
        root = f"{self.folder}/" if self.folder else ""
        request = {"Bucket": self.bucket, "Prefix": f"{root}{prefix}/" if prefix else root}
        found = {}
        while True:
            page = self._call("call_s3", "list_objects_v2", **request)
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(root)
                if is_name(name):
                    found[name] = item["Size"]
            if not page.get("IsTruncated"):
                return found
            request["ContinuationToken"] = page["NextContinuationToken"]

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        try:
            tag = self._head(path)["ETag"]  # before the body: a change in between fails the precondition
            current = self.read(path)
            return current == new or (current == old and (self._put(path, new, IfMatch=tag) or self.read(path) == new))
        except FileNotFoundError:
            return False

    def delete(self, path: str) -> None:
        self._call("call_s3", "delete_object", Bucket=self.bucket, Key=self._key(path))

    def probe(self, path: str) -> None:
        """`compare_and_swap` itself would notice a wrong `old` without the server's help; this does not."""
        if self._put(path, b"overwritten", IfMatch='"00000000000000000000000000000000"'):
            raise BadInput(f"{self.url}: this store ignores If-Match, so two runs could overwrite each other")

    def _key(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path

    def _full(self, path: str) -> str:
        return f"{self.bucket}/{self._key(path)}"

    def _head(self, path: str) -> dict:
        return self._call("call_s3", "head_object", Bucket=self.bucket, Key=self._key(path))

    def _put(self, path: str, data: bytes, **condition: str) -> bool:
        """False when the condition did not hold. A 409 means that another write was in flight: ask again."""
        pauses = [1.6, 0.8, 0.4, 0.2, 0.1]
        while True:
            try:
                self._call("pipe_file", self._full(path), data, **condition)
                return True
            except OSError as error:
                if _code(error) in ("PreconditionFailed", "412"):
                    return False
                if _code(error) not in _IN_FLIGHT or not pauses:
                    raise
                time.sleep(pauses.pop())

    def _call(self, operation: str | Callable, *arguments: Any, **keywords: Any) -> Any:
        """One operation, its failures sorted. Retries are s3fs's and botocore's; only damaged transfers repeat here."""
        from aiohttp import ClientPayloadError
        from botocore import exceptions as boto
        from fsspec.exceptions import FSTimeoutError

        identity = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
        sign_in = (boto.ProfileNotFound, boto.TokenRetrievalError, boto.SSOError)
        function = operation if callable(operation) else getattr(self.files, operation)
        for last in (False, True):
            try:
                return function(*arguments, **keywords)
            except boto.FlexibleChecksumError:
                if last:
                    raise
            except (*identity, *sign_in) as error:
                raise BadInput(f"{self.url}: {error}") from error
            except (boto.ConnectionError, boto.HTTPClientError, ClientPayloadError, FSTimeoutError) as error:
                raise StoreUnreachable(f"{self.url}: {error or type(error).__name__}") from error
            except OSError as error:
                code = _code(error)
                if isinstance(error, PermissionError) or code == "NoSuchBucket":
                    raise BadInput(f"{self.url}: {error} ({code})") from error
                busy = isinstance(error, TimeoutError) or error.errno in (errno.EBUSY, errno.EREMOTEIO)
                if busy and code not in _IN_FLIGHT:
                    raise StoreUnreachable(f"{self.url}: {error}") from error
                if code != "BadDigest" or last:
                    raise


_IN_FLIGHT = ("ConditionalRequestConflict", "OperationAborted", "409")


def _code(error: OSError) -> str:
    """S3's own word for a failure, which s3fs keeps only in the cause."""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code", "")


@cache  # the first client of a session reads megabytes of service descriptions
def _session(profile: str | None) -> Any:
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    # botocore announces PUT bodies with Expect: 100-continue, and aiohttp waits for the answer without a limit.
    session.register("before-sign.s3", _no_expect)
    return session


def _no_expect(request: Any, **_: Any) -> None:
    if "Expect" in request.headers:
        del request.headers["Expect"]


class Blobs:
    def __init__(self, url: str, options: dict | None = None):
        scheme, separator, rest = url.rpartition("://")
        rest = rest.rstrip("/")
        self.url = scheme + separator + rest
        if rest and (not separator or scheme == "file"):
            self._place: Folder | Bucket = Folder(Path(rest).expanduser().absolute())
        elif scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]+", rest.partition("/")[0]) and is_name(rest):
            self._place = Bucket(self.url, options or {})
        else:  # the address is not repeated: someone may have written a password into it
            raise BadInput(
                "a store is <folder>, file://<folder> or s3://<bucket>/<prefix>; credentials come from AWS_*"
            )

    def read(self, path: str) -> bytes:
        return self._place.read(self._checked(path))

    def digest(self, path: str) -> tuple[int, str]:
        """(size, sha256) of the stored bytes, streamed."""
        return self._place.digest(self._checked(path))

    def local(self, path: str) -> Path | None:
        """Where the bytes lie on this machine; None for a bucket."""
        return self._place.local(self._checked(path))

    def create(self, path: str, data: bytes) -> bool:
        """True: ours is the stored value. False: another one was first."""
        return self._place.create(self._checked(path), data)

    def put_file(self, local: Path, path: str) -> None:
        """For names that hold their content's hash: an object of the same size is taken for the same object."""
        self._place.put_file(local, self._checked(path))

    def get_file(self, path: str, local: Path) -> None:
        self._place.get_file(self._checked(path), local)

    def list(self, prefix: str) -> dict[str, int]:
        """Path and size of everything below the folder `prefix` ("" for all), at any depth."""
        return self._place.list(self._checked(prefix) if prefix else "")

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        """True: `new` is the stored value. `old` and `new` must be unique in the life of the path."""
        return self._place.compare_and_swap(self._checked(path), old, new)

    def delete(self, path: str) -> None:
        self._place.delete(self._checked(path))

    def probe(self) -> None:
        """Raise BadInput unless this store can be written and really refuses a second writer."""
        path = f"_probe/{uuid4().hex}"
        try:
            self.list("_probe")  # before any write: some servers make a missing bucket on the first one
            first, second = self.create(path, b"first"), self.create(path, b"second")
            if not first or second or self.read(path) != b"first":
                raise BadInput(f"{self.url}: this store ignores If-None-Match, so two runs could overwrite each other")
            self._place.probe(path)
            if not self.compare_and_swap(path, b"first", b"third") or self.read(path) != b"third":
                raise BadInput(f"{self.url}: this store cannot replace an object under a condition")
            self.delete(path)
        except OSError as error:
            raise BadInput(f"{self.url}: cannot be used as a store: {error}") from error

    def _checked(self, path: str) -> str:
        if not is_name(path):
            raise BadInput(f"{self.url}: {path!r} is not a name under the root of the store")
        return path
