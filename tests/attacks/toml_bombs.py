"""TOML files that are small to send and large to read: each is refused in a line, within seconds and little memory.

`python -m tests.attacks.toml_bombs`
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flows.config.loading import SHIPPED

DEMO = (SHIPPED / "demo.toml").read_text()
BOMBS = {
    "200,000 brackets": "x = " + "[" * 200_000 + "]" * 200_000,
    "200,000 inline tables": "x = " + "{a=" * 200_000,
    "a key of 100,000 parts": "a" + ".a" * 100_000 + " = 1",
    "a table of 100,000 parts": "[" + "a." * 100_000 + "a]",
    "50,000 headers that share 20 parts": "\n".join(f"[{'a.' * 20}b{n}]" for n in range(50_000)),
    "an integer of 4,000,000 digits": "seed = " + "9" * 4_000_000,
    "a hexadecimal integer of 4,000,000 digits": "seed = 0x" + "f" * 4_000_000,
    "a float of 4,000,000 digits": "seed = 0." + "1" * 4_000_000,
    "a string of 50 MB": 'name = "' + "x" * 50_000_000 + '"',
    "1,000,000 keys": "\n".join(f"k{n} = {n}" for n in range(1_000_000)),
    "300,000 sources": DEMO + "\n[[sources]]\nname = 'x'" * 300_000,
    "escapes": 'name = "' + "\\U0001F600" * 1_000_000 + '"',
    "open triple quotes": "x = " + '"""' + '""' * 2_000_000,
    "a date of digits": "x = 1979-05-27T07:32:00." + "9" * 1_000_000 + "Z",
}


def main() -> None:
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in BOMBS.items():
            (file := Path(folder) / "recipe.toml").write_text(text)
            began = time.monotonic()
            words = [sys.executable, "-m", "flows.cli.main", "plan", str(file)]
            limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
            done = subprocess.run(words, capture_output=True, text=True, preexec_fn=limit, timeout=600)
            seconds, said = time.monotonic() - began, done.stderr.strip()
            sound = done.returncode == 2 and "\n" not in said and len(said) < 1500 and seconds < 30
            bad += [name] * (not sound)
            print(f"{'ok ' if sound else 'BAD'} {name}: {seconds:.1f} s, code {done.returncode}, {said[:110]!r}")
    sys.exit(f"bad: {bad}" if bad else 0)


if __name__ == "__main__":
    main()
