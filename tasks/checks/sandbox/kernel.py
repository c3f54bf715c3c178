"""System calls that Python has no function for, by ctypes; each raises OSError as any other would."""

import ctypes
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
NUMBERS = {  # by machine where they differ, as in the kernel's headers
    "pivot_root": {"x86_64": 155, "aarch64": 41}.get(MACHINE, -1),
    "capset": {"x86_64": 126, "aarch64": 91}.get(MACHINE, -1),
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38


def checked(result: int, name: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def call(name: str, *arguments) -> int:
    whole = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return checked(LIBC.syscall(ctypes.c_long(NUMBERS[name]), *whole), name)


def prctl(option: int, *arguments) -> None:
    rest = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0, 0)[:4]]
    checked(LIBC.prctl(option, *rest), "prctl")


def unshare(flags: int) -> None:
    checked(LIBC.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind)]
    checked(LIBC.mount(*texts, ctypes.c_ulong(flags), options.encode() or None), f"mount {source} {target}")


def umount(target: str, flags: int) -> None:
    checked(LIBC.umount2(target.encode(), flags), "umount")
