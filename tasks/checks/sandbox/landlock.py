"""Landlock: limits this process to reading files in some folders."""

import ctypes
import os
from collections.abc import Sequence

from tasks.checks.sandbox import kernel

READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # Landlock version -> number of file rights that the kernel can restrict
SCOPED = 0b11  # since version 6: no signals to outside processes, and no access to their abstract sockets


class PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("path", ctypes.c_int32))


def restrict_paths(paths: Sequence[str]) -> None:
    """Allows only reading under these paths. OSError if the kernel has no Landlock."""
    version = kernel.call_kernel("landlock_create_ruleset", None, 0, 1)
    rights = (1 << RIGHTS[min(version, 5)]) - 1
    attributes = (ctypes.c_uint64 * 3)(rights, 0, SCOPED if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = kernel.call_kernel("landlock_create_ruleset", attributes, size, 0)
    for path in paths:
        descriptor = os.open(path, os.O_PATH)
        rights = READ_FILE | READ_FOLDER if os.path.isdir(path) else READ_FILE
        kernel.call_kernel("landlock_add_rule", ruleset, 1, ctypes.byref(PathRule(rights, descriptor)), 0)
        os.close(descriptor)
    kernel.call_kernel("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)
