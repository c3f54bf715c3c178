"""Blobs as objects of an S3 bucket, by conditional writes. The one file that knows s3fs and botocore."""

import errno
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from infra.errors import BadInput, StoreUnreachable
from infra.folder import draft_of
from infra.names import BLOCK, is_name, measure

PART = 32 * BLOCK


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

    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        root = f"{self.folder}/" if self.folder else ""
        request = {"Bucket": self.bucket, "Prefix": f"{root}{prefix}/" if prefix else root}
        found = {}
        while True:
            page = self._call("call_s3", "list_objects_v2", **request)
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(root)
                if is_name(name):
                    found[name] = (item["Size"], item["LastModified"].timestamp())
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
