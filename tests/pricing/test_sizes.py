"""Model sizes by name and settings, and the arithmetic of speed, against figures by hand."""

import pytest

from flows.pricing.machines import MachineKind, kind_of_gpu
from flows.pricing.model_sizes import anchors, size_by_name, size_by_parameters, size_of_tiny
from flows.pricing.seconds import anchor_seconds, write_speed
from flows.pricing.work import Work


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        ("google/gemma-2-27b-it", 27, 27),
        ("internlm/internlm2_5-20b-chat", 20, 20),
        ("Qwen/Qwen2.5-0.5B", 0.5, 0.5),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135, 0.135),
        ("mistralai/Mistral-Large-Instruct-2407", 123, 123),
        ("deepseek-ai/DeepSeek-V2-Chat-0628", 236, 21),
        ("deepseek-ai/DeepSeek-Coder-V2-Instruct-0724", 236, 21),
        ("microsoft/Phi-3-medium-4k-instruct", 14, 14),
        ("01-ai/Yi-1.5-34B-Chat", 34, 34),
    ],
)
def test_a_name_says_the_size(name, billions, active):
    size = size_by_name(name)
    assert (size.parameters, size.active, size.known) == (billions * 1e9, active * 1e9, True)


def test_an_unknown_name_is_assumed_and_marked():
    assert not size_by_name("acme/owl").known and size_by_name("acme/owl").parameters == 8e9


def test_a_tiny_model_has_the_parameters_of_its_layers():
    assert size_of_tiny({"hidden": 96, "layers": 3}).parameters == 3 * 10 * 96**2 + 33 * 96


def test_eight_billions_write_as_fast_as_the_formula_by_hand():
    """Weights 16 GB and 256 caches of 700 tokens of 131 kB: 39.5 GB at 70% of 3.35 TB/s are 16.8 ms, with 3 ms of host."""
    work = Work("writes", "vllm", size_by_parameters(8e9), 1000, 1e6)
    speed = write_speed(work, MachineKind("H100", 1))
    assert speed == pytest.approx(256 / (39.475e9 / 2.345e12 + 0.003), rel=1e-3) and 9e3 < speed < 16e3
    start = anchors()["engine"]["start"]["vllm"]
    assert anchor_seconds(work, MachineKind("H100", 1), 1) == pytest.approx(start + 1e6 / speed)
    assert anchor_seconds(work, MachineKind("H100", 1), 8) == pytest.approx(8 * start + 1e6 / speed)


def test_training_costs_three_forward_passes():
    size = size_by_parameters(8e9)
    read, trained = Work("reads", "", size, tokens=1e9), Work("trains", "", size, tokens=1e9)
    assert trained.operations == 3 * read.operations
    hours = anchor_seconds(trained, MachineKind("A100", 8), 1) / 3600
    assert hours == pytest.approx(6 * 8e9 * 1e9 * (1 + 220 / 4096) / (8 * 312e12 * 0.35) / 3600 + 60 / 3600, rel=0.01)


def test_a_driver_names_its_gpu_at_length():
    assert kind_of_gpu("NVIDIA H100 80GB HBM3") == "H100" and kind_of_gpu("Tesla T4") == ""
