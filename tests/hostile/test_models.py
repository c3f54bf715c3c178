"""Model folders that lack something, lie, or would run code: refused by the plan, or by the program before any weight is used."""

import json
import pickle
import shutil

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from infra.errors import BadInput
from tasks.loading import load_model, load_tokenizer
from tasks.models.stage import ModelFolder, obtain_model
from tests import tiny
from tests.hostile.said import refused

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def model(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "model")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def bomb(mark) -> bytes:
    return pickle.dumps({"model.embed_tokens.weight": Bomb(mark)})


def weights(change):
    return lambda model, mark: (model / "model.safetensors").write_bytes(
        change((model / "model.safetensors").read_bytes())
    )


def index(value):
    return lambda model, mark: (model / INDEX).write_text(json.dumps(value))


def pickled_alone(model, mark):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(bomb(mark))


def adapter(model, mark):
    """What makes transformers read the base from wherever this says, and not what lies here."""
    (model / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(mark.parent)})
    )
    (model / "adapter_model.bin").write_bytes(bomb(mark))


FOLDERS = {  # what is done to a sound folder, and what the plan says
    "only a pickle": (pickled_alone, "has no *.safetensors weights (pickled weights are never loaded)"),
    "a pickle by another name": (
        lambda model, mark: (model / "model.safetensors").write_bytes(bomb(mark)),
        "model.safetensors is not a complete safetensors file",
    ),
    "cut weights": (weights(lambda data: data[:-1]), "is damaged: "),
    "cut in the header": (weights(lambda data: data[:100]), "is not a complete safetensors file"),
    "no bytes": (weights(lambda data: b""), "is not a complete safetensors file (0 bytes"),
    "trailing bytes": (weights(lambda data: data + bytes(8)), "is damaged: "),
    "a header beyond measure": (
        weights(lambda data: b"\xff" * 7 + b"\x7f" + data[8:]),
        "is not a complete safetensors file",
    ),
    "a header of lists": (weights(lambda data: (5).to_bytes(8, "little") + b"[1,2]"), "its header cannot be read"),
    "an index of absent shards": (
        index({"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
        "names 'model-00001",
    ),
    "an index that leaves the folder": (index({"weight_map": {"a": "../../x.safetensors"}}), "names '../../x"),
    "an index of pickles": (index({"weight_map": {"a": "pytorch_model.bin"}}), "names 'pytorch_model.bin'"),
    "an index of numbers": (index({"weight_map": {"a": 1}}), "has no weight_map"),
    "an index without a map": (index([]), "has no weight_map"),
    "an adapter beside weights": (adapter, "is an adapter: merge it into its base"),
    "no config": (lambda model, mark: (model / "config.json").unlink(), "has no config.json"),
    "a config that is no JSON": (
        lambda model, mark: (model / "config.json").write_bytes(b"\xff{"),
        "config.json is not JSON",
    ),
    "a config of lists": (
        lambda model, mark: (model / "config.json").write_text("[" * 9000 + "]" * 9000),
        "is not JSON",
    ),
    "a config that is a list": (
        lambda model, mark: (model / "config.json").write_text("[]"),
        "is not a JSON object",
    ),
    "no tokenizer": (
        lambda model, mark: [file.unlink() for file in model.glob("tokenizer*")],
        "has no tokenizer (one of ",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_no_model_is_refused_by_the_plan(name, model, tmp_path, workplace, capsys):
    change, message = FOLDERS[name]
    change(model, tmp_path / "mark")
    said = refused(capsys, "plan", "demo", "--set", f"target={{kind='folder', path='{model}'}}")
    assert said.startswith("fuse: target.path: ") and message in said
    assert not (tmp_path / "mark").exists()


SECRET = "the-secret-key-5f1c"


def leaving(model, outside):
    (model / "LICENSE.txt").symlink_to(outside / "secret")


def leaving_by_the_cache(model, outside):
    """The layout of the hub's cache, where a link leads on."""
    (model.parents[1] / "blobs").mkdir()
    (model.parents[1] / "blobs" / "aa").symlink_to(outside / "secret")
    (model / "LICENSE.txt").symlink_to("../../blobs/aa")


def leaving_beside_the_cache(model, outside):
    shutil.copyfile(outside / "secret", model.parents[1] / "secret")
    (model / "LICENSE.txt").symlink_to("../../secret")


@pytest.mark.parametrize("link", [leaving, leaving_by_the_cache, leaving_beside_the_cache])
def test_a_link_that_leaves_the_folder_puts_no_secret_into_the_store(link, sound, tmp_path, workplace, capsys):
    (outside := tmp_path / "home").mkdir()
    (outside / "secret").write_text(SECRET)
    model = shutil.copytree(sound, tmp_path / "models--a--b" / "snapshots" / "c0ffee")
    link(model, outside)
    said = refused(capsys, "plan", "demo", "--set", f"target={{kind='folder', path='{model}'}}")
    assert said.startswith("fuse: target.path: ") and "LICENSE.txt" in said and "is a link" in said
    with pytest.raises(BadInput, match="is a link"):
        workplace.made(obtain_model("model · a", **ModelFolder(kind="folder", path=str(model)).resolve("target")))
    stored = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert not any(SECRET in path.read_bytes().decode(errors="replace") for path in stored)


def test_links_within_the_folder_and_of_the_hubs_cache_are_files_as_others(sound, tmp_path, workplace):
    cache = tmp_path / "models--a--b"
    model = shutil.copytree(sound, cache / "snapshots" / "c0ffee")
    (cache / "blobs").mkdir()
    (model / "config.json").rename(cache / "blobs" / "aa")
    (model / "config.json").symlink_to("../../blobs/aa")
    (model / "LICENSE.txt").symlink_to("config.json")
    (linked := tmp_path / "linked").symlink_to(model)
    given = ModelFolder(kind="folder", path=str(linked)).resolve("target")
    assert {"config.json", "LICENSE.txt"} <= given["what"].files.keys()
    made = workplace.made(obtain_model("model · a", **given))
    assert (workplace.store.fetch(made) / "model" / "LICENSE.txt").read_text() == (model / "config.json").read_text()


def config(**changes):
    def change(model, mark):
        file = model / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def remote_code(model, mark):
    (model / "own.py").write_text(f"open({str(mark)!r}, 'w')\nfrom transformers import LlamaForCausalLM as Own")
    config(
        model_type="own", architectures=["Own"], auto_map={"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Own"}
    )(model, mark)


LOADED = {
    "another architecture": config(model_type="nosuch", architectures=["NoSuch"]),
    "code of its own": remote_code,
    "another size": config(hidden_size=64),
    "a size that is text": config(hidden_size="large"),
    "a size below zero": config(hidden_size=-8),
    "more layers than weights": config(num_hidden_layers=3),
    "a pickle beside absent weights": pickled_alone,
    "an adapter of another base": adapter,
    "an adapter and its weights": lambda model, mark: (
        adapter(model, mark),
        shutil.copyfile(model / "model.safetensors", model / "adapter_model.safetensors"),
        shutil.copytree(model, mark.parent, dirs_exist_ok=True),
        (mark.parent / "adapter_config.json").unlink(),
    ),
}


@pytest.mark.parametrize("name", LOADED)
def test_a_model_that_does_not_load_is_refused_in_a_line(name, model, tmp_path):
    LOADED[name](model, tmp_path / "mark")
    with pytest.raises(BadInput, match=r"^model: ") as refusal:
        load_model(AutoModelForCausalLM, model)
    assert "\n" not in str(refusal.value) and not (tmp_path / "mark").exists()


def test_a_language_model_is_no_reward_model(model):
    with pytest.raises(BadInput, match="lacks weights that"):
        load_model(AutoModelForSequenceClassification, model)


def tokenizer_code(model, mark):
    (model / "own.py").write_text(f"open({str(mark)!r}, 'w')\n")
    file = model / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    (model / "tokenizer.json").unlink()


TOKENIZERS = {
    "no template": lambda model, mark: (model / "chat_template.jinja").unlink(),
    "no JSON": lambda model, mark: (model / "tokenizer.json").write_bytes(b"\xff\xfe"),
    "another JSON": lambda model, mark: (model / "tokenizer.json").write_text("[1]"),
    "an empty one": lambda model, mark: (model / "tokenizer.json").write_text("{}"),
    "a configuration of lists": lambda model, mark: (model / "tokenizer_config.json").write_text("[]"),
    "code of its own": tokenizer_code,
    "a template that is no Jinja": lambda model, mark: (model / "chat_template.jinja").write_text("{% for %}"),
    "a template that opens files": lambda model, mark: (model / "chat_template.jinja").write_text(
        "{{ cycler.__init__.__globals__.os.popen('touch " + str(mark) + "').read() }}"
    ),
    "a template that says no": lambda model, mark: (model / "chat_template.jinja").write_text(
        "{{ raise_exception('no system turn here') }}"
    ),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_cannot_be_used_is_refused_in_a_line(name, model, tmp_path):
    TOKENIZERS[name](model, tmp_path / "mark")
    with pytest.raises(BadInput, match=r"^model: ") as refusal:
        load_tokenizer(model)
    assert "\n" not in str(refusal.value) and not (tmp_path / "mark").exists()
