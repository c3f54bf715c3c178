"""Stores blobs as objects of an S3 bucket, by conditional writes. Only this file uses s3fs and botocore."""

import errno
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

from infra.errors import BadInput, StoreUnreachable
from infra.folder import Confirm, draft_of
from infra.names import BLOCK, is_name, measure_stream

PART = 32 * BLOCK


class S3Blobs:
    """Blobs as S3 objects. Endpoint and credentials come from s3fs's `options`, otherwise from the AWS_* variables.

    `confirm` is not called: S3 has no lock, so it would be no safer than the check before each write."""

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
        from fsspec.asyn import sync

        def whole() -> bytes:
            """One GET request never mixes two versions; `cat_file` would also retry for minutes."""
            answer = self.files.call_s3("get_object", Bucket=self.bucket, Key=self._key(path))
            return cast("bytes", sync(self.files.loop, _body, answer["Body"]))

        return self._call(path, whole)

    def digest(self, path: str) -> tuple[int, str]:
        def whole(full: str) -> tuple[int, str]:
            with self.files.open(full, "rb", block_size=8 * BLOCK, cache_type="readahead") as stream:
                return measure_stream(stream)

        return self._call(path, whole, self._full(path))

    def create(self, path: str, data: bytes, confirm: Confirm) -> bool:
        for _ in range(3):
            if self._put(path, data, mode="create"):
                return True
            try:
                return self.read(path) == data  # equal: an earlier attempt wrote it, but its answer was lost
            except FileNotFoundError:
                continue  # the other writer has deleted its object
        return False

    def put_file(self, local: Path, path: str, confirm: Confirm) -> None:
        size = local.stat().st_size
        try:
            if self._head(path)["ContentLength"] == size:
                return
        except FileNotFoundError:
            pass
        part = max(PART, -(-size // 10_000))  # an upload has at most 10 000 parts
        self._call(path, "put_file", str(local), self._full(path), chunksize=part)

    def get_file(self, path: str, local: Path) -> None:
        with draft_of(local) as draft:
            self._call(path, "get_file", self._full(path), str(draft), chunksize=PART)
            os.replace(draft, local)

    def entries(self, prefix: str) -> dict[str, tuple[int, float]]:
        root = f"{self.folder}/" if self.folder else ""
        request = {"Bucket": self.bucket, "Prefix": f"{root}{prefix}/" if prefix else root}
        found = {}
        while True:
            page = self._call(prefix, "call_s3", "list_objects_v2", **request)
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(root)
                if is_name(name):
                    found[name] = (item["Size"], item["LastModified"].timestamp())
            if not page.get("IsTruncated"):
                return found
            request["ContinuationToken"] = page["NextContinuationToken"]

    def age(self, path: str) -> float:
        answer = self._head(path)
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - answer["LastModified"]).total_seconds() - 1  # S3 cuts both times to whole seconds

    def compare_and_swap(self, path: str, old: bytes, new: bytes) -> bool:
        try:
            tag = self._head(path)["ETag"]  # read before the body: a later change then fails the condition
            current = self.read(path)
            return current == new or (current == old and (self._put(path, new, IfMatch=tag) or self.read(path) == new))
        except FileNotFoundError:
            return False

    def delete(self, path: str, confirm: Confirm) -> None:
        self._call(path, "call_s3", "delete_object", Bucket=self.bucket, Key=self._key(path))

    def drop_uploads(self, older: float) -> None:
        """Aborts unfinished uploads: a listing does not show their parts, but the provider charges for them."""
        before = datetime.now(UTC) - timedelta(seconds=older)
        prefix = f"{self.folder}/" if self.folder else ""
        found = self._call("", "call_s3", "list_multipart_uploads", Bucket=self.bucket, Prefix=prefix)
        for upload in found.get("Uploads", []):
            if upload["Initiated"] <= before:
                named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                self._call("", "call_s3", "abort_multipart_upload", Bucket=self.bucket, **named)

    def probe(self, path: str) -> None:
        """Tests only If-Match, since `compare_and_swap` also compares the bytes itself."""
        if self._put(path, b"overwritten", IfMatch='"00000000000000000000000000000000"'):
            raise BadInput(f"{self.url}: this store ignores If-Match, so two runs could overwrite each other")

    def _key(self, path: str) -> str:
        return f"{self.folder}/{path}" if self.folder else path

    def _full(self, path: str) -> str:
        return f"{self.bucket}/{self._key(path)}"

    def _head(self, path: str) -> dict:
        return self._call(path, "call_s3", "head_object", Bucket=self.bucket, Key=self._key(path))

    def _put(self, path: str, data: bytes, **condition: str) -> bool:
        """False if the condition did not hold. Retries after a 409, which means that another write was active."""
        pauses = [1.6, 0.8, 0.4, 0.2, 0.1]
        while True:
            try:
                self._call(path, "pipe_file", self._full(path), data, **condition)
                return True
            except OSError as error:
                if _code(error) in _REFUSED:
                    return False
                if _code(error) not in _IN_FLIGHT or not pauses:
                    raise
                time.sleep(pauses.pop())

    def _call(self, path: str, operation: str | Callable, *arguments: Any, **keywords: Any) -> Any:
        """Runs one operation and translates its errors. Retries only damaged transfers: s3fs and botocore retry the rest."""
        from aiohttp import ClientPayloadError
        from botocore.exceptions import BotoCoreError

        function = operation if callable(operation) else getattr(self.files, operation)
        pauses = [1.0, 0.2]
        while True:
            try:
                return function(*arguments, **keywords)
            except (OSError, ValueError, BotoCoreError, ClientPayloadError) as error:
                if is_damaged(error) and pauses:
                    time.sleep(pauses.pop())
                elif known := translate_error(f"{self.url}/{path}".rstrip("/"), error):
                    raise known from error
                else:
                    raise


def is_damaged(error: Exception) -> bool:
    """True if bytes were lost or changed during the transfer."""
    from aiohttp import ClientPayloadError
    from botocore.exceptions import FlexibleChecksumError

    return isinstance(error, FlexibleChecksumError | ClientPayloadError) or _code(error) == "BadDigest"


def translate_error(where: str, error: Exception) -> Exception | None:
    """The error as one line that names the object; None for errors that callers handle, and for bugs."""
    from botocore import exceptions as boto
    from fsspec.exceptions import FSTimeoutError

    no_credentials = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)
    sign_in = (boto.ProfileNotFound, boto.TokenRetrievalError, boto.SSOError)
    configured = (boto.InvalidRegionError, boto.NoRegionError, boto.ConfigParseError, boto.ConfigNotFound)
    unreachable = (boto.ConnectionError, boto.HTTPClientError, FSTimeoutError)
    code, status = _code(error), _status(error)
    message = " ".join(f"{where}: {error or type(error).__name__}".split())
    if isinstance(error, (*no_credentials, *sign_in, *configured)) or str(error).startswith("Invalid endpoint"):
        return BadInput(message)
    if isinstance(error, unreachable) or is_damaged(error):
        return StoreUnreachable(message)
    if not isinstance(error, OSError) or code in (*_IN_FLIGHT, *_REFUSED):
        return None
    if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
        return None
    if (
        status >= 500
        or status == 429
        or isinstance(error, TimeoutError)
        or error.errno in (errno.EBUSY, errno.EREMOTEIO)
    ):
        return StoreUnreachable(f"{message} ({code})")
    return BadInput(f"{message} ({code})") if status else None  # without a status it may be an error of the local disk


async def _body(stream: Any) -> bytes:
    """Reads the whole stream and closes it, also after an error."""
    async with stream:
        return await stream.read()


_IN_FLIGHT = ("ConditionalRequestConflict", "OperationAborted", "409")
_REFUSED = ("PreconditionFailed", "412")


def _answer(error: Exception) -> dict:
    """S3's error response; s3fs keeps it only in the exception's cause."""
    return getattr(error.__cause__, "response", None) or {}


def _code(error: Exception) -> str:
    return _answer(error).get("Error", {}).get("Code", "")


def _status(error: Exception) -> int:
    return _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@cache  # since the first client of a session reads megabytes of service descriptions
def _session(profile: str | None) -> Any:
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    # botocore sends `Expect: 100-continue` before a PUT body, and aiohttp waits for the answer without a time limit.
    session.register("before-sign.s3", _no_expect)
    return session


def _no_expect(request: Any, **_: Any) -> None:
    if "Expect" in request.headers:
        del request.headers["Expect"]
