"""Models: what a folder must hold, what of it is taken, and that a tiny model is its seed."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from infra.digests import file_digest
from infra.errors import BadInput
from tasks.demo.pretrain import pretrain
from tasks.loading import load_model, load_tokenizer
from tasks.models.stage import Folder, Hub, check_folder, obtain_model
from tests import tiny

NO_TENSORS = (2).to_bytes(8, "little") + b"{}"  # as safetensors
LACKING = {
    "the folder": ((), r"there is no folder '.*model'"),
    "the config": (("model.safetensors", "tokenizer.json"), r"has no config\.json; it is not a model folder"),
    "weights": (("config.json", "pytorch_model.bin", "tokenizer.json"), r"has no \*\.safetensors weights \(pickled"),
    "a tokenizer": (("config.json", "model.safetensors", "vocab.json"), r"has no tokenizer \(one of tokenizer\.json, "),
}


@pytest.mark.parametrize(("files", "message"), LACKING.values(), ids=LACKING)
def test_what_a_folder_lacks_is_named(tmp_path, files, message):
    for name in files:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(NO_TENSORS if name.endswith("safetensors") else b"{}")
    with pytest.raises(BadInput, match=r"^target\.model\.path: .*" + message):
        check_folder("target.model", tmp_path / "model")


@pytest.mark.parametrize("tokenizer", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json"])
def test_any_kind_of_tokenizer_will_do(tmp_path, tokenizer):
    for name in ("config.json", "model-00001-of-00001.safetensors", tokenizer):
        (tmp_path / name).write_bytes(NO_TENSORS if name.endswith("safetensors") else b"{}")
    check_folder("target.model", tmp_path)


NOT_TAKEN = ("pytorch_model.bin", "optimizer.pt", "training_args.pkl", "modeling_own.py", ".hidden.json", "README.md")


def model_folder(path):
    tiny.folder(path)
    for name in (*NOT_TAKEN, "onnx/config.json"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("{}")
    (path / "merges.txt").write_text("#version: 0.2\n")
    return path


def test_a_folder_is_taken_complete_and_without_pickles_and_code(workplace, tmp_path):
    source = model_folder(tmp_path / "mine")
    step = obtain_model(**Folder(kind="folder", path=str(source)).resolve("target.model"))
    manifest = workplace.made(step)
    needed = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    taken = {entry.name: entry.sha256 for entry in manifest.files}
    assert taken.keys() == {f"model/{name}" for name in {*needed, "merges.txt", "chat_template.jinja"}}
    assert all(file_digest(source / name.removeprefix("model/")) == sha256 for name, sha256 in taken.items())

    folder = workplace.run(step).model(manifest)
    loaded, expected = load_model(AutoModelForCausalLM, folder), tiny.llama()
    assert all(torch.equal(expected.state_dict()[name], value) for name, value in loaded.state_dict().items())
    assert load_tokenizer(folder).chat_template == tiny.TEMPLATE


def test_a_folder_is_what_stands_in_it_not_where_it_lies(tmp_path):
    step = lambda path: obtain_model(**Folder(kind="folder", path=str(path)).resolve("target.model"))
    one, moved = step(model_folder(tmp_path / "one")), step(model_folder(tmp_path / "moved"))
    (tmp_path / "moved" / "pytorch_model.bin").write_text("another pickle")
    assert one.address == moved.address == step(tmp_path / "moved").address
    (tmp_path / "moved" / "generation_config.json").write_text("{}")
    assert step(tmp_path / "moved").address != one.address


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_folder_that_changes_while_the_run_is_prepared_is_refused(workplace, tmp_path, name):
    source = tiny.folder(tmp_path / "mine")
    step = obtain_model(**Folder(kind="folder", path=str(source)).resolve("target.model"))
    (source / name).write_bytes((source / name).read_bytes() + b" ")
    with pytest.raises(BadInput, match=rf"{name} changed while the run was being prepared; run it again"):
        workplace.made(step)
    assert workplace.store.manifests("model") == []


def test_a_model_on_a_hub_is_its_name_and_commit(workplace):
    step = obtain_model(what=Hub(kind="hub", id="north/llama", revision="a" * 40))
    (entry,) = workplace.made(step).files
    kept = json.loads((workplace.store.fetch(workplace.made(step)) / "hub.json").read_text())
    assert (entry.name, kept) == ("hub.json", {"repository": "north/llama", "revision": "a" * 40})


@pytest.mark.parametrize("kind", ["tiny", "tiny-reward"])
def test_a_tiny_model_is_its_seed(tmp_path, kind):
    def weights(folder: str, seed: int) -> str:
        what = {"kind": kind, "hidden": 16, "layers": 2, "steps": 3, "batch_size": 8, "learning_rate": 3e-3}
        more = {"seed": seed, "skills": {"copy": 1.0, "flip": 2.0}, "noise": 0.2}
        torch.rand(seed + len(folder))  # whatever was drawn before must not matter
        pretrain({"what": {**what, **more}, "threads": 1}, tmp_path / folder, lambda done, total, unit: None)
        return file_digest(tmp_path / folder / "model" / "model.safetensors")

    one, again, other = weights("one", 1), weights("again", 1), weights("other", 2)
    assert one == again != other
