"""What a recipe needs of a machine: against arithmetic written down elsewhere, and what the shipped recipes are told."""

import json
import tomllib

import pytest

from flows.cli.main import main
from flows.fusion import fusion
from flows.preflight import list_needs, load_filled
from infra.errors import BadInput
from infra.machine import Machine, find_machine, parse_machine
from tasks.doctor.memory import load_of_training, load_of_vllm, size_checkpoints, size_states
from tasks.doctor.shapes import KNOWN, count_parameters, known_shapes, read_shape
from tests.addresses import loading
from tests.node.node import write_program

NODE, CARD = "8x80GB, 1TB RAM, 4TB disk", "1x24GB, 64GB RAM, 1TB disk"
SHIPPED = sorted(file.stem for file in loading.SHIPPED.glob("*.toml") if file.stem != "demo")
LLAMA8, LLAMA70 = "meta-llama/Meta-Llama-3-8B-Instruct", "meta-llama/Meta-Llama-3-70B-Instruct"


def needs(recipe: str, machine: str, *overrides: str) -> dict:
    filled, _ = load_filled(recipe, list(overrides))
    return {need.stage: need for need in list_needs(fusion(filled), parse_machine(machine))}


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        (NODE, Machine(8, 80e9, 1e12, 4e12, True)),
        ("1 × 24 GB", Machine(1, 24e9, None, None, True)),
        ("2x40GiB,1.5TB disk", Machine(2, 40 * 2**30, None, 1.5e12, True)),
    ],
)
def test_a_machine_is_described_in_words(text, machine):
    assert parse_machine(text) == machine


@pytest.mark.parametrize("text", ["8 GPUs", "80GB", "8x80GB, 8x40GB", "1TB", "8x80MB"])
def test_a_description_that_is_not_understood_is_refused(text):
    with pytest.raises(BadInput, match=r"--machine: .* is not understood"):
        parse_machine(text)


def test_this_machine_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    listed = "\n".join(f"GPU {number}: H100 (UUID: GPU-{number}a)" for number in range(2))
    write_program(
        tmp_path / "nvidia-smi", f'case "$1" in --list-gpus) echo "{listed}";; *) echo 81559; echo 81000;; esac'
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = find_machine(tmp_path / "not" / "there")
    assert (found.gpus, found.gpu_memory, found.described) == (2, 81000 * 2**20, False)
    assert found.memory and found.disk


def test_the_written_down_shapes_agree_with_their_own_parameter_counts():
    """The number of parameters is published; counted from the config it is the same, but for norms and biases."""
    dense = {id: each for id, each in tomllib.loads(KNOWN.read_text())["models"].items() if "DeepSeek" not in id}
    for id, each in dense.items():
        assert count_parameters(each["config"]) == pytest.approx(each["billions"] * 1e9, rel=0.01), id


def test_the_cache_of_an_engine_is_as_counted_by_hand():
    """Mistral-Large in bf16 on 8 × 80 GB: 352 KiB a token, and (73.6 − 4 − 245.2 / 8) GB on each GPU."""
    shapes = known_shapes()
    large, deep = shapes["mistralai/Mistral-Large-Instruct-2407"], shapes["deepseek-ai/DeepSeek-V2-Chat-0628"]
    assert large.kv_bytes() == 352 * 1024 and deep.kv_bytes() == 60 * 576 * 2
    told = lambda shape: load_of_vllm(shape, 8, 8, 0.92, 6144, False, 2, 80e9).note
    assert told(large) == f"cache for {(73.6 - 4 - 245.2 / 8) * 8e9 / 352 / 1024 / 1e3:,.0f}k tokens"
    assert told(deep) == "cache for 154k tokens"  # on every GPU whole
    assert (
        load_of_vllm(large, 4, 4, 0.92, 6144, True, 1, 80e9).gpu
        < load_of_vllm(large, 4, 4, 0.92, 6144, False, 2, 80e9).gpu
    )


@pytest.mark.parametrize(
    ("processes", "zero", "offload", "gigabytes"),
    [(1, 0, False, 128), (8, 2, False, 48), (8, 3, False, 16), (32, 3, False, 4), (8, 3, True, 4)],
)
def test_the_states_of_a_training_are_sixteen_bytes_a_parameter_shared_out(processes, zero, offload, gigabytes):
    shape = known_shapes()[LLAMA8]
    on_gpu, waiting = size_states(shape.parameters, processes, zero, offload, "")
    assert on_gpu / 1e9 == pytest.approx(gigabytes, rel=0.01)
    assert waiting / 1e9 == pytest.approx(128 if offload else 0, rel=0.01)
    assert size_checkpoints(shape, "") / 1e9 == pytest.approx(289, rel=0.01)
    assert size_checkpoints(shape, "nf4") == 0


def test_a_model_too_large_for_the_node_is_too_large_for_its_training():
    large, small = known_shapes()[LLAMA70], known_shapes()[LLAMA8]
    load = lambda shape: load_of_training(shape, 8, 3, False, 2 * 3 * 2048, True, "").gpu
    assert load(small) < 80e9 < load(large)


@pytest.mark.parametrize("recipe", SHIPPED)
def test_shipped_recipes_fit_the_papers_node_and_only_the_open_judge_is_unknown(recipe):
    found = needs(recipe, NODE)
    assert not [need for need in found.values() if need.state == "red"]
    assert [name for name, need in found.items() if need.state == "unknown"] == ["evaluation by the judge model"]


def test_a_small_card_is_told_what_it_lacks():
    found = needs("wrpo-llama3-8b", CARD)
    red = {name: need.note for name, need in found.items() if need.state == "red"}
    assert red["per-model sampling · mistral-large-2407"] == "one program needs 8 GPUs, the machine has 1"
    assert red["per-model sampling · gemma2-9b"].startswith("GPU memory: 27 of 24 GB")
    assert red["WRPO"].startswith("one program needs 8 GPUs") and red["disk · together"].startswith("disk: 2,0")
    assert found["evaluation · answers of target"].state == "green"
    alone = needs("wrpo-llama3-8b", CARD, "how.wrpo={processes=1}")["WRPO"]
    assert alone.note.startswith("GPU memory: 1") and alone.gpu > 128e9


def test_what_the_machine_does_not_say_is_unknown():
    need = needs("wrpo-llama3-8b", "8x80GB")["WRPO"]
    assert (need.state, need.note) == ("unknown", "not known: host memory")


def test_a_pools_machines_are_not_this_one():
    filled, _ = load_filled("wrpo-llama3-8b", ["how.wrpo.work_pool=gpu-train"])
    here = list_needs(fusion(filled), Machine(1, 24e9, 64e9, 1e12))
    (need,) = [need for need in here if need.stage == "WRPO"]
    assert (need.state, need.note) == ("unknown", "runs on work pool gpu-train: describe its machines with --machine")


def test_a_folders_own_config_and_files_count(tmp_path):
    from tests.tiny import folder  # loads torch, which no other test here needs

    model = folder(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    files = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    shape = read_shape(config, files)
    assert shape.weights == files and shape.layers == config["num_hidden_layers"]
    found = needs("demo", "1x24GB, 64GB RAM, 1TB disk", f"sources.mirror.model={{kind='folder', path='{model}'}}")
    assert found["per-model sampling · mirror"].state == "green" and "per-model sampling · sorter" not in found
    (model / "config.json").write_text('{"model_type": "mamba"}')
    assert (
        needs("demo", CARD, f"sources.mirror.model={{kind='folder', path='{model}'}}")[
            "per-model sampling · mirror"
        ].state
        == "unknown"
    )


@pytest.mark.parametrize(("machine", "code"), [(NODE, 0), (CARD, 1)])
def test_the_doctor_compares_a_recipe_with_open_slots(workplace, capsys, machine, code):
    assert main(["doctor", "wrpo-llama3-8b", "--machine", machine]) == code
    said = capsys.readouterr().out
    assert "open: prompts.revisions.ultrafeedback" in said and ("red" in said) is bool(code)
    assert not (workplace.folder / "workspace").exists()


def test_a_red_stage_can_be_accepted_with_a_reason(workplace, capsys):
    accepted = "doctor.accepted={memory='this card pages to the host'}"
    assert main(["doctor", "wrpo-llama3-8b", "--machine", CARD, "--set", accepted]) == 0


def test_the_table_comes_before_anything_is_downloaded(workplace, capsys):
    """The hub is not reachable here, so the first download ends the command."""
    model = f"sources.mirror.model={{kind='hub', id='{LLAMA8}', revision='{'a' * 40}'}}"
    assert main(["doctor", "demo", "--set", model]) != 0
    said = capsys.readouterr()
    assert "per-model sampling · mirror" in said.out and "hub does not answer" in said.err
