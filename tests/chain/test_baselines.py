"""A recipe that names suites and collective baselines: `fuse run` ends with them, by a judge at an endpoint."""

import re

import pytest
from chain.small import fuse, write_recipe
from evaluation.made import folder_of, reply
from stub_endpoint import moody, stub_endpoint

MORE = """
how.judging = {{ url = "{url}", first_wait = 0.0 }}

[[evaluation.collectives]]
name = "best-of-sources"
model = {{ kind = "best-by-reward" }}
[[evaluation.collectives]]
name = "pairs"
model = {{ kind = "pairwise" }}
[evaluation.open_judge]
model = "stub-1"

[[evaluation.suites]]
suite = "alpaca-eval"
path = "{path}"
max_new_tokens = 8
temperature = 1.0
"""


def judge(body: dict) -> dict:
    shown = body["messages"][-1]["content"]
    if "assistant A" in shown:
        return {"content": "[[A]]" if len(shown) % 2 else "[[C]]"}
    return reply("alpaca-eval", len(shown) % 7 / 7, "as is")


@pytest.mark.heavy
def test_a_run_ends_with_its_suites_and_baselines_and_a_second_one_asks_nobody(tmp_path):
    recipe = write_recipe(tmp_path)
    text, path = (
        recipe.read_text().replace("count = 60", "count = 24"),
        folder_of("alpaca-eval", tmp_path / "alpaca", 4),
    )
    with stub_endpoint(judge, moody) as stub:
        head, sources, rest = text.partition("\n[[sources]]")
        how, _, tables = MORE.format(url=stub.url, path=path).partition("\n\n")
        recipe.write_text(f"{head}\n{how}\n{sources}{rest}\n{tables}")
        first = fuse(tmp_path / "space", "run", str(recipe))
        print(first.stdout, first.stderr)
        paid = stub.answered.total()
        again = fuse(tmp_path / "space", "run", str(recipe))
    assert first.returncode == 0 and again.returncode == 0
    assert stub.answered.total() == paid > 0 and set(stub.answered.values()) == {1}
    for words in (
        "best-of-sources",
        "pairs → WRPO: win rate",
        "LC@stub-1",
        "best-of-sources → WRPO: win rate",
    ):
        assert words in first.stdout
    page = next((tmp_path / "space" / "reports").glob("small-*.html")).read_text()
    assert "LC@stub-1" in page and re.search(r'id="suites"', page)
