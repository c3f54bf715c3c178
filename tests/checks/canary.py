"""A working folder with a package in it that must be neither read nor run, and a watch over it."""

import ctypes
import os
from pathlib import Path

OPENED = 0x00000021  # IN_ACCESS | IN_OPEN
NONBLOCK = 0x800


class Canary:
    """`evil_pkg.payload` writes a file when it runs; the kernel tells of every reading of the package or of the secret."""

    def __init__(self, folder: Path):
        self.folder, self.written = folder, folder / "written"
        package = folder / "evil_pkg"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "payload.py").write_text(f"open({str(self.written)!r}, 'w').write('it ran')\nx = 1\n")
        (folder / "this_module_exits.py").write_text(
            f"open({str(self.written)!r}, 'w').write('it ran')\nraise SystemExit"
        )
        (folder / "secret").write_text("secret")
        (folder / "secret").chmod(0o666)
        libc = ctypes.CDLL(None, use_errno=True)
        self.watch = libc.inotify_init1(NONBLOCK)
        for path in (package, folder / "this_module_exits.py", folder / "secret"):
            assert libc.inotify_add_watch(self.watch, str(path).encode(), OPENED) >= 0

    def find_harm(self) -> str:
        """What happened to it since it was made or asked last; nothing, if all is well."""
        try:
            read = bool(os.read(self.watch, 1 << 16))
        except BlockingIOError:
            read = False
        return " and ".join(["it was read"] * read + ["it was run"] * self.written.exists())
