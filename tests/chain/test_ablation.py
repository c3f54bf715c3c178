"""A matrix of twelve variants, run for real in small: every distinct stage once, a second run none. Six minutes of CPU."""

import re

import pytest

from tests.chain.small import fuse, manifests, start, write_recipe
from tests.patience import end_of

MATRIX = """
name = "twelve"
base = "{base}"
{variants}
"""
VARIANTS = {
    "static": 'set = { "wrpo.schedule" = { kind = "static" } }',
    "alpha-0": 'set = { "wrpo.alpha" = 0.0 }',
    "alpha-1": 'set = { "wrpo.alpha" = 1.0 }',
    "no-sft": 'set = { "sft.form" = "none" }',
    "reward-b": 'set = { "reward.model.seed" = 99 }',
    "one-source": 'set = { "pairs.sources" = ["source-1"] }',
    "rank-2": 'set = { "pairs.rank" = 2 }',
    "y-ls": 'set = { "pairs.source_worst" = true, "wrpo.source_worst" = true }',
    "dpo": 'set = { "wrpo.objective" = "dpo" }',
    "beta": 'set = { "wrpo.beta" = 0.5 }',
    "broken": 'set = { "records" = { kind = "given" } }',  # no prompt came with a response
}


def numbers(printed: str) -> tuple[int, int, int, int]:
    found = re.search(r"(\d+) variants, (\d+) stages if .*?, (\d+)\s+distinct; (\d+) to do", printed, re.DOTALL)
    return tuple(map(int, found.groups()))


@pytest.mark.heavy
def test_twelve_variants_run_every_stage_once_despite_a_failure(tmp_path):
    base = write_recipe(tmp_path)
    text = "".join(f'\n[[variants]]\nname = "{name}"\nhypothesis = "h"\n{rest}\n' for name, rest in VARIANTS.items())
    (tmp_path / "matrix.toml").write_text(MATRIX.format(base=base, variants=text))
    space, words = tmp_path / "space", ("ablate", str(tmp_path / "matrix.toml"))
    first = start(space, *words)
    printed = end_of(first, space).stdout
    print(printed)
    variants, alone, distinct, to_do = numbers(printed)
    executed = int(re.search(r"(\d+) stages executed", printed)[1])
    assert variants == 12 and distinct == to_do < alone / 2
    assert first.returncode == 1 and "failed: SFT records" in printed  # the broken one, and only it
    unreached = 12  # of the broken variant: its records, and what follows them
    assert executed == len(manifests(space / "store")) == distinct - unreached
    sound = [word for name in VARIANTS if name != "broken" for word in ("--only", name)]
    again = fuse(space, *words, *sound)
    assert again.returncode == 0 and "; 0 to do" in again.stdout and "stages executed" not in again.stdout
    page = (space / "reports" / "matrix-twelve.html").read_text()
    assert "no-sft" in page and "://" not in page.replace("http://www.w3.org/2000/svg", "")
