"""Recipes that are wrong in every way that came to mind: each is refused by the plan, in a line that says what and where."""

import pytest

from flows.config.loading import SHIPPED
from tests.hostile.said import refused

DEMO = (SHIPPED / "demo.toml").read_text()
DEEP = "[" * 50_000 + "]" * 50_000

FILES = {  # what stands in the file, and what is said of it
    "empty": (b"", "name: is missing"),
    "zeros": (bytes(4096), "not TOML"),
    "random bytes": (bytes(range(256)), "not TOML"),
    "latin-1": ('name = "caf\xe9"'.encode("latin-1"), "not TOML"),
    "utf-16": (DEMO.encode("utf-16"), "not TOML"),
    "lists in lists": (f"x = {DEEP}".encode(), "not TOML"),
    "tables in tables": (b"x = " + b"{a=" * 50_000, "not TOML"),
    "a number of 5,000 digits": (b"seed = " + b"9" * 5000, "not TOML"),
    "a hexadecimal number of 5,000 digits": (b"seed = 0x" + b"f" * 5000, "not TOML: an integer of more than 64 bits"),
    "a key of 20,000 parts": (b"a" + b".a" * 20_000 + b" = 1", "not TOML: a key of more than 32 parts"),
    "a section of 20,000 parts": (b"[" + b"a . " * 20_000 + b"a]", "not TOML: a key of more than 32 parts"),
    "a quoted key of 20,000 parts": (b"'a'" + b".'a'" * 20_000 + b" = 1", "not TOML: a key of more than 32 parts"),
    "sections in lists in sections": (b"x = " + b"[{a=" * 60 + b"1" + b"}]" * 60, "not TOML: more than 64 sections or"),
    "a name of a megabyte": (b'name = "' + b"x" * 2**20 + b'"', "1,048,585 bytes, at most 262,144 are read"),
    "a long word": (b'name = "' + b"x" * 200_000 + b'"', "name: String should match"),
    "a key twice": (b'name = "again"\n' + DEMO.encode(), "not TOML"),
    "a table over a value": (b"seed = 1\n[seed.x]\n", "not TOML"),
    "a list for a section": (DEMO.replace("[split]", "[[split]]").encode(), "split"),
    "a section for a list": (DEMO.replace("[[sources]]", "[sources.x]", 1).encode(), "not TOML"),
    "JSON": (b'{"name": "x"}', "not TOML"),
    "a pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "not TOML"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_recipe_is_refused(name, tmp_path, workplace, capsys):
    content, message = FILES[name]
    (tmp_path / "recipe.toml").write_bytes(content)
    assert message in refused(capsys, "plan", tmp_path / "recipe.toml")


FIELDS = {  # --set, and what the line holds
    "name='..'": "name: ",
    "name='a/../../b'": "name: ",
    "name='a\\n'": "name: ",
    "name=''": "name: ",
    "seed=-1": "seed: ",
    "seed=4294967296": "seed: ",
    "seed=1.5": "seed: ",
    "seed=true": "seed: ",
    "seed='1'": "seed: ",
    "seed=nan": "seed: ",
    "prompts.count=0": "prompts.count: ",
    "prompts.count=100000000000000000000": "prompts.count: ",
    "target.hidden=8000000": "target.hidden: ",
    "target.layers=1000000": "target.layers: ",
    "target.learning_rate=inf": "target.learning_rate: ",
    "target.skills.fly=1": "target.skills.fly",
    "target.skills.copy=-1": "target.skills.copy: ",
    "target={kind='folder', path=''}": "target.path: ",
    "target={kind='folder', path='a\\u0000b'}": "target.path: ",
    "target={kind='hub', id='../../x', revision='0123456789012345678901234567890123456789'}": "target.id: ",
    "target={kind='hub', id='a/b', revision='main'}": "target.revision: ",
    "target={kind='hub', id='a/b', revision='0123456789012345678901234567890123456789', trust_remote_code=true}": (
        "target.trust_remote_code: there is no such field"
    ),
    "sources.0.name='../../etc/passwd'": "sources.0.name: ",
    "sources.0.name='a b'": "sources.0.name: ",
    "sources.0.name='target'": "'target' is taken",
    "sources=1": "sources: ",
    "sampling.n=1000000000": "sampling.n: ",
    "sampling.max_new_tokens=100000000000": "sampling.max_new_tokens: ",
    "sampling.temperature=-0.1": "sampling.temperature: ",
    "sampling.temperature=1e-9": "temperature",
    "sampling.top_p=0": "sampling.top_p: ",
    "sampling.n='5'": "sampling.n: ",
    "split.sft=1e999": "split.sft: ",
    "split.sft=-0.5": "split.sft: ",
    "wrpo.alpha=nan": "wrpo.alpha: ",
    "wrpo.alpha=[1,2]": "wrpo.alpha: ",
    "wrpo.batch_size=7": "is not a multiple",
    "how.sampling.batch_size=0": "how.sampling.batch_size: ",
    "how.sampling.batch_size=100000000000": "how.sampling.batch_size: ",
    "evaluation.confidence=1": "evaluation.confidence: ",
    "reward.scoring={kind='sequence-classifier', max_length=0}": "reward.scoring.max_length: ",
    f"wrpo={DEEP}": "nested too deeply",
    "=1": "write FIELD=VALUE",
    "wrpo.=1": "write FIELD=VALUE",
    ".=1": "write FIELD=VALUE",
    "sources.99.model.steps=1": "no '99' in the list",
    "sources.-1.model.steps=1": "no '-1' in the list",
    "a" + ".b" * 20_000 + "=1": "sections, more than any field",
    "__class__.x=1": "__class__: there is no such field",
}


@pytest.mark.parametrize("override", FIELDS, ids=lambda text: text[:60])
def test_a_field_that_cannot_be_is_refused(override, workplace, capsys):
    assert FIELDS[override] in refused(capsys, "plan", "demo", "--set", override)


def test_a_folder_or_a_name_beyond_measure_is_no_recipe(tmp_path, workplace, capsys):
    for name in (tmp_path, "x" * 5000, "", "a\0b", "/dev/null", "/dev/zero"):
        assert "recipe: there is no file" in refused(capsys, "plan", name)
