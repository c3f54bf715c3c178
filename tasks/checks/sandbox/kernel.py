"""System calls without a Python function, through ctypes. Each raises OSError on failure."""

import ctypes
import os
import platform

LIBC = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
NUMBERS = {  # from the kernel's headers
    "pivot_root": {"x86_64": 155, "aarch64": 41}.get(MACHINE, -1),
    "capset": {"x86_64": 126, "aarch64": 91}.get(MACHINE, -1),
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38


def check_result(result: int, name: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def call_kernel(name: str, *arguments) -> int:
    whole = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return check_result(LIBC.syscall(ctypes.c_long(NUMBERS[name]), *whole), name)


def prctl(option: int, *arguments) -> None:
    rest = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (*arguments, 0, 0, 0, 0)[:4]]
    check_result(LIBC.prctl(option, *rest), "prctl")


def unshare(flags: int) -> None:
    check_result(LIBC.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind)]
    check_result(LIBC.mount(*texts, ctypes.c_ulong(flags), options.encode() or None), f"mount {source} {target}")


def umount(target: str, flags: int) -> None:
    check_result(LIBC.umount2(target.encode(), flags), "umount")
