"""Lets several users of a machine share a folder store: its folders and files belong to one group, and members may write."""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from uuid import uuid4

from infra.errors import BadInput
from infra.names import DRAFT

FOR_MEMBERS = 0o2070  # a folder: the group reads and writes it, and what is made inside belongs to the group (setgid)


class GroupFolder(Protocol):
    root: Path
    group: int | None


Given = ParamSpec("Given")
Result = TypeVar("Result")
Folder = TypeVar("Folder", bound=GroupFolder)


def find_store_group(name: str) -> int | None:
    """The number of the group that FUSE_STORE_GROUP names; None if it is empty."""
    if not name:
        return None
    try:
        group = int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise BadInput(f"FUSE_STORE_GROUP: this machine has no group {name!r}") from None
    if os.geteuid() and group not in {os.getegid(), *os.getgroups()}:
        raise BadInput(
            f"FUSE_STORE_GROUP: user {user_name(os.geteuid())} is not in the group {name!r}; "
            "an administrator adds a user to a group, and the user then logs in again"
        )
    return group


def make_group_folder(folder: Path, group: int) -> None:
    """Creates a folder that has the group's rights as soon as it has its name, so that no other user meets it without."""
    draft = folder.with_name(f"{DRAFT}{uuid4().hex}")
    draft.mkdir()
    try:
        os.chown(draft, -1, group)
        draft.chmod(stat.S_IMODE(draft.stat().st_mode) | FOR_MEMBERS)
        os.rename(draft, folder)
    except OSError as error:
        draft.rmdir()
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process made it first, and uses it
            raise


def give_to_group(file: Path, group: int, rights: int) -> None:
    os.chown(file, -1, group)
    file.chmod(stat.S_IMODE(file.stat().st_mode) | rights)


def raise_refusal(error: OSError) -> None:
    """For os.walk, which skips folders that it cannot read: rows that are not seen would be made again."""
    if isinstance(error, PermissionError):
        raise error


def explain_refusals(
    method: Callable[Concatenate[Folder, Given], Result],
) -> Callable[Concatenate[Folder, Given], Result]:
    """Turns `Permission denied` inside a folder store into a BadInput that names the owner and what to do."""

    @wraps(method)
    def explained(self: Folder, *arguments: Given.args, **named: Given.kwargs) -> Result:
        try:
            return method(self, *arguments, **named)
        except PermissionError as error:
            if error.filename is None or not Path(os.fsdecode(error.filename)).is_relative_to(self.root):
                raise
            raise BadInput(explain_refusal(self.root, error, self.group)) from error

    return explained


def explain_refusal(root: Path, error: PermissionError, group: int | None) -> str:
    """The error message for a path in a folder store that this user may not use: whose it is, and how to share a store."""
    denied = Path(os.fsdecode(error.filename))
    place = next(path for path in (denied, *denied.parents) if os.path.lexists(path))
    found = place.lstat()
    owner, owners, mode = user_name(found.st_uid), group_name(found.st_gid), stat.filemode(found.st_mode)
    name = "GROUP" if group is None else group_name(group)
    return (
        f"{place}: Permission denied for user {user_name(os.geteuid())}: it belongs to {owner} and group {owners} ({mode}). "
        f"To share a store, each user sets FUSE_STORE_GROUP={name}, and the owner runs once: chgrp -R {name} {root} && "
        f"chmod -R g+rwX {root} && find {root} -type d -exec chmod g+s {{}} +"
    )


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
