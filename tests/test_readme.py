"""The README's own recipe is a recipe: taken from the page as a reader would."""

import re
from pathlib import Path

from transformers import LlamaConfig, LlamaForSequenceClassification

from flows.config.loading import load
from flows.fusion import fusion
from tasks.stage import lineage
from tests.tiny import folder, llama, save

README = Path(__file__).parents[1] / "README.md"


def code_blocks(language: str) -> list[str]:
    return [
        re.sub("^   ", "", block, flags=re.M)
        for block in re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S)
    ]


def test_the_readmes_recipe_makes_a_chain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (recipe,), (row,) = code_blocks("toml"), code_blocks("json")
    Path("mine.toml").write_text(recipe)
    Path("prompts.jsonl").write_text(row.strip())
    for name in ("small", "first", "second"):
        folder(Path("models", name))
    for name in ("reward", "judge"):
        config = LlamaConfig(**llama().config.to_dict() | {"num_labels": 1})
        save(LlamaForSequenceClassification(config), Path("models", name))
    assert lineage(fusion(load("mine.toml")))[-1].stage.title == "report"


def test_the_readme_is_short():
    assert len(README.read_text().split()) <= 900
