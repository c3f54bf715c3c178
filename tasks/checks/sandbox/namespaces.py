"""Isolates this process in new namespaces: no network, no other processes, and only some folders, read-only.

Needs root, or a kernel that allows unprivileged user namespaces. Does the same as bubblewrap, without a package.
"""

import ctypes
import os
import signal
from collections.abc import Sequence

from tasks.checks.sandbox import kernel

NEW_NS, NEW_CGROUP, NEW_UTS, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, BIND, REC, PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
DETACH, AT_RECURSIVE = 2, 0x8000


def enter_namespaces(folders: Sequence[str], hidden: Sequence[str]) -> None:
    """Returns in a new process, the second of a new PID namespace. The calling process waits for it, then exits."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(NEW_NS | NEW_CGROUP | NEW_UTS | NEW_IPC | NEW_PID | NEW_NET | (NEW_USER if user else 0))
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    new_root(folders, hidden)
    become_child()  # the namespace's first process: if it ends, all others end; they cannot signal it
    become_child()


def new_root(folders: Sequence[str], hidden: Sequence[str]) -> None:
    """As bubblewrap does: mounts an empty file system, binds the folders from the old one, then unmounts the old one."""
    kernel.mount("none", "/", flags=REC | PRIVATE)
    kernel.mount("tmpfs", "/tmp", "tmpfs", NOSUID | NODEV, "size=1m,nr_inodes=4k,mode=755")
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/new")
    kernel.call_kernel("pivot_root", b"/tmp", b"/tmp/old")
    os.chdir("/")
    kernel.mount("/new", "/new", flags=BIND | REC)
    for folder in folders:
        os.makedirs(f"/new{folder}", exist_ok=True)
        kernel.mount(f"/old{folder}", f"/new{folder}", flags=BIND | REC)
    for folder in hidden:
        kernel.mount("tmpfs", f"/new{folder}", "tmpfs", NOSUID | NODEV, "size=4k,nr_inodes=1")
    kernel.umount("/old", DETACH)
    os.chdir("/new")
    kernel.call_kernel("pivot_root", b".", b".")
    kernel.umount(".", DETACH)
    os.chdir("/")
    attributes = (ctypes.c_uint64 * 4)(RDONLY | NOSUID | NODEV, 0, 0, 0)
    kernel.call_kernel("mount_setattr", -100, b"/", AT_RECURSIVE, attributes, ctypes.sizeof(attributes))


def become_child() -> None:
    """Forks. The child returns and is killed if the parent ends; the parent waits for the child, then exits."""
    child = os.fork()
    if child:
        for descriptor in range(3):
            os.close(descriptor)
        os.closerange(3, 4096)
        os.waitpid(child, 0)
        os._exit(0)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
