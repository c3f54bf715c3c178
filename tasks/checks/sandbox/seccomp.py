"""Seccomp: allows only the system calls that a computing program needs.

All others fail with EPERM: processes, programs and threads (so limits of one process bound the whole program), sockets,
signals to other processes, mounts, namespaces, memory files, and all changes of files. The filter cannot be removed.
"""

import ctypes
import errno
import os
import struct

from tasks.checks.sandbox import kernel

# fmt: off
NATIVE = {  # the kernel's numbers; aarch64 lacks old calls that newer calls replace
    "x86_64": (0xC000003E, {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9,
        "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16,
        "pread64": 17, "readv": 19, "writev": 20, "access": 21, "pipe": 22, "select": 23, "sched_yield": 24, "mremap": 25,
        "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39, "socketpair": 53, "exit": 60,
        "uname": 63, "fcntl": 72, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98,
        "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131,
        "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218,
        "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "epoll_wait": 232, "epoll_ctl": 233, "tgkill": 234, "openat": 257, "newfstatat": 262, "readlinkat": 267,
        "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "epoll_pwait": 281, "eventfd2": 290,
        "epoll_create1": 291, "dup3": 292, "pipe2": 293, "prlimit64": 302, "getrandom": 318, "statx": 332, "rseq": 334,
        "faccessat2": 439,
    }),
    "aarch64": (0xC00000B7, {
        "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "dup3": 24,
        "fcntl": 25, "ioctl": 29, "faccessat": 48, "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62,
        "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72, "ppoll": 73, "readlinkat": 78,
        "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98,
        "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
        "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "times": 153, "uname": 160, "getrlimit": 163,
        "getrusage": 165, "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175,
        "getgid": 176, "getegid": 177, "gettid": 178, "socketpair": 199, "brk": 214, "munmap": 215, "mremap": 216,
        "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "statx": 291,
        "rseq": 293, "faccessat2": 439,
    }),
}
# fmt: on
PATHS = {"stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat"}
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, FIRST, SECOND, THIRD = (
    0,
    4,
    16,
    24,
    32,
)  # offsets in struct seccomp_data; for arguments, of their low words
FCNTL = (0, 1, 2, 3, 4, 1030)  # duplicate, flags of the descriptor and of the file; not F_SETOWN, which sends signals
O_PATH = 0o10000000  # forbidden: it opens unreadable files, and fstat then reports their size and times
IOCTL = (0x5401, 0x5421, 0x5450, 0x5451)  # TCGETS (isatty), FIONBIO, FIONCLEX, FIOCLEX


def restrict_calls(paths: bool = True) -> None:
    """Installs the filter. Without `paths`, calls that report the state of a path fail too. OSError if the machine is not
    supported."""
    if kernel.MACHINE not in NATIVE:
        raise OSError(errno.ENOSYS, f"no system call numbers of {kernel.MACHINE} are known here")
    architecture, numbers = NATIVE[kernel.MACHINE]
    allowed = {name: number for name, number in numbers.items() if paths or name not in PATHS}
    code = filter_program(architecture, allowed, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    description = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.create_string_buffer(description, len(description)))


def filter_program(architecture: int, numbers: dict[str, int], process: int) -> bytes:
    """The BPF program: compares the call's number with each allowed number; EPERM if none matches."""
    limited = {
        "tgkill": allowed_if(FIRST, (process,)),
        "prlimit64": allowed_if(FIRST, (0, process)),
        "socketpair": allowed_if(FIRST, (1,)),
        "fcntl": allowed_if(SECOND, FCNTL),
        "ioctl": allowed_if(SECOND, IOCTL),
        "open": allowed_without(SECOND, O_PATH),
        "openat": allowed_without(THIRD, O_PATH),
    }
    lines = [
        filter_line(LOAD, ARCHITECTURE),
        filter_line(EQUAL, architecture, 1, 0),
        filter_line(RETURN, KILL),
        filter_line(LOAD, NUMBER),
    ]
    for name, number in numbers.items():
        answer = limited.get(name, [filter_line(RETURN, ALLOW)])
        lines += [filter_line(EQUAL, number, 0, len(answer)), *answer]
    return b"".join([*lines, error_answer(errno.EPERM)])


def allowed_if(argument: int, values: tuple[int, ...]) -> list[bytes]:
    asked = [piece for value in values for piece in (filter_line(EQUAL, value, 0, 1), filter_line(RETURN, ALLOW))]
    return [filter_line(LOAD, argument), *asked, error_answer(errno.EPERM)]


def allowed_without(argument: int, bits: int) -> list[bytes]:
    return [
        filter_line(LOAD, argument),
        filter_line(ANY_OF, bits, 0, 1),
        error_answer(errno.EPERM),
        filter_line(RETURN, ALLOW),
    ]


def error_answer(number: int) -> bytes:
    return filter_line(RETURN, ERROR | number)


def filter_line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)
