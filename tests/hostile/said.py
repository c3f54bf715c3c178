"""What `fuse` says of bad input, in this process: one line that begins with its name, and code 2."""

from flows.cli import main as cli
from infra.settings import settings
from infra.visible import visible


def refused(capsys, *words: object) -> str:
    settings.cache_clear()
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    line = capsys.readouterr().err.rstrip("\n")
    assert code == 2, f"code {code}: {line}"
    assert line.startswith("fuse: ") and line == visible(line) and "\n" not in line and "Traceback" not in line, line
    assert len(line) < 1500
    return line
