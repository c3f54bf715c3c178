"""Files that a user names by path or by URL: as files on this machine, fetched again only when the object has changed."""

import hashlib
import os
import re
from pathlib import Path

from infra.errors import BadInput
from infra.folder import draft_of
from infra.settings import settings

# What fsspec knows beside them are mounts, mirrors and archives.
SCHEMES = ("s3", "https", "http", "gs", "gcs", "abfs", "az")
OPTIONS = {"s3": {"config_kwargs": {"s3": {"addressing_style": "path"}}}}  # as the store does: servers of one's own


def local_file(field: str, location: str) -> Path:
    """The file itself, or a copy of the object at `location`."""
    scheme, separator, rest = location.partition("://")
    scheme = scheme.lower() if separator else scheme
    if not separator or scheme == "file":
        file = Path(rest if separator else location)
        if not is_file(file):
            raise BadInput(f"{field}: there is no file {location!r:.200}")
        return file.absolute()
    if re.match("[^/]*:[^/]*@", rest):  # not repeated; and what a recipe says is kept with what it made
        raise BadInput(f"{field}: there is a password in the address; give it by {scheme}'s own variables")
    if scheme not in SCHEMES:
        raise BadInput(f"{field}: {location!r:.200} cannot be read: neither a file nor one of {', '.join(SCHEMES)}")
    import fsspec  # with its file system, tenths of a second that a local file need not pay

    try:
        files, path = fsspec.url_to_fs(location, **OPTIONS.get(scheme, {}))
        files.invalidate_cache()
        state = files.ukey(path)  # of the object's entity tag or date: another one, another copy
        name = hashlib.sha256(f"{location}\0{state}".encode()).hexdigest()[:40]
        copy = settings().workspace.absolute() / "cache" / "inputs" / name / Path(path).name
        if not copy.is_file():
            fetch(files, path, copy)
        return copy
    except FileNotFoundError as problem:
        raise BadInput(f"{field}: there is no object {location!r}") from problem
    except (ValueError, ImportError, OSError, *unreachable(scheme)) as problem:
        raise BadInput(f"{field}: {location!r} cannot be read: {' '.join(str(problem).split())}") from problem


def is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name too long, a folder that may not be looked into
        return False


def unreachable(scheme: str) -> tuple[type[Exception], ...]:
    """What s3fs lets through of its client's complaints: no credentials, no server."""
    if scheme != "s3":
        return ()
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError,)


def fetch(files, path: str, copy: Path) -> None:
    with draft_of(copy) as draft:
        files.get_file(path, str(draft))
        os.replace(draft, copy)
