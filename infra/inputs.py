"""Gives local files for a path or URL that a user names; downloads an object again only when it has changed."""

import hashlib
import os
import re
from glob import escape, glob, has_magic
from pathlib import Path
from urllib.parse import urlsplit

from infra.errors import BadInput
from infra.folder import draft_of
from infra.link_local import REFUSED, is_link_local, open_session
from infra.settings import settings

# fsspec's other schemes are mounts, mirrors and archives.
SCHEMES = ("s3", "https", "http", "gs", "gcs", "abfs", "az")
UNLISTED = ("https", "http")  # these cannot list a folder, and a ? in their URLs begins a query
OPTIONS: dict[str, dict] = {
    "s3": {"config_kwargs": {"s3": {"addressing_style": "path"}}},  # as in the store: other S3 servers need it
    **{scheme: {"get_client": open_session} for scheme in UNLISTED},
}


def local_files(field: str, location: str) -> list[Path]:
    """A file, the files of a folder or the files that match a pattern, sorted by name; remote objects are copied."""
    scheme, separator, rest = location.partition("://")
    scheme = scheme.lower() if separator else scheme
    local = not separator or scheme == "file"
    found = (
        list_files(field, rest if separator else location)
        if local
        else copy_remote_files(field, location, scheme, rest)
    )
    if not found and has_magic(location) and scheme not in UNLISTED:
        raise BadInput(f"{field}: no file matches {location!r:.200}")
    if not found:
        within = "in " if local and is_there(Path(rest if separator else location), Path.is_dir) else ""
        raise BadInput(f"{field}: there is no {'file' if local else 'object'} {within}{location!r:.200}")
    return found


def list_files(field: str, path: str) -> list[Path]:
    """Local files at `path`. The name of an existing file is never read as a pattern."""
    if not path or "\0" in path:
        return []
    if is_there(Path(path), Path.is_file):
        return [Path(path).absolute()]
    folder = is_there(Path(path), Path.is_dir)
    found = sorted(glob(f"{escape(str(Path(path)))}/*" if folder else path, recursive=True))
    found = [one for one in found if not (folder and is_note(one))]
    if broken := [one for one in found if Path(one).is_symlink() and not is_there(Path(one), Path.exists)]:
        raise BadInput(f"{field}: {broken[0]!r} is a broken link: its target does not exist")
    return [Path(one).absolute() for one in found if is_there(Path(one), Path.is_file)]


def is_note(path: str) -> bool:
    """True for files that tools leave beside their data, such as `_SUCCESS`."""
    return Path(path).name.startswith((".", "_"))


def is_there(file: Path, ask) -> bool:
    try:
        return ask(file)
    except OSError:  # the name is too long, or the folder may not be read
        return False


def copy_remote_files(field: str, location: str, scheme: str, rest: str) -> list[Path]:
    if re.match("[^/]*:[^/]*@", rest):  # a password; artifacts keep their recipe, and the message must not repeat it
        raise BadInput(
            f"{field}: the address contains a password; set the password in the environment variables of {scheme} instead"
        )
    if scheme not in SCHEMES:
        raise BadInput(
            f"{field}: {location!r:.200} cannot be read: it is neither a file nor an address with one of {', '.join(SCHEMES)}"
        )
    if scheme in UNLISTED and is_link_local(urlsplit(location).hostname or ""):
        raise BadInput(f"{field}: {urlsplit(location).hostname} {REFUSED}")
    import fsspec  # here, since this import takes tenths of a second and local files do not need it

    try:
        files, path = fsspec.url_to_fs(location, **OPTIONS.get(scheme, {}))
        files.invalidate_cache()
        return [copy_of(files, one) for one in ([path] if scheme in UNLISTED else list_objects(files, path))]
    except FileNotFoundError:
        return []
    except (ValueError, ImportError, OSError, *connection_errors(scheme)) as problem:
        raise BadInput(f"{field}: {location!r} cannot be read: {' '.join(str(problem).split())}") from problem


def list_objects(files, path: str) -> list[str]:
    if files.isfile(path):
        return [path]
    folder = not has_magic(path)
    held = files.ls(path, detail=True) if folder else files.glob(path, detail=True).values()
    names = sorted(one["name"] for one in held if one["type"] == "file")
    return [one for one in names if not Path(one).name.startswith(".") and not (folder and is_note(one))]


def copy_of(files, path: str) -> Path:
    state = files.ukey(path)  # made from the object's entity tag or date: a changed object gets a new copy
    name = hashlib.sha256(f"{files.unstrip_protocol(path)}\0{state}".encode()).hexdigest()[:40]
    copy = settings().workspace.absolute() / "cache" / "inputs" / name / Path(path).name
    if not copy.is_file():
        with draft_of(copy) as draft:
            files.get_file(path, str(draft))
            os.replace(draft, copy)
    return copy


def connection_errors(scheme: str) -> tuple[type[Exception], ...]:
    """Exceptions of botocore that s3fs does not translate, such as missing credentials or an unreachable server."""
    if scheme != "s3":
        return ()
    from botocore.exceptions import BotoCoreError

    return (BotoCoreError,)
