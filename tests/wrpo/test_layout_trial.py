"""The trial that chooses a layout: on rows of middle length, in the training's precision, with limits that rounding keeps."""

import numpy as np
import torch

from tasks.wrpo import prompt_attention, shared_prompt
from tasks.wrpo.layout_trial import find_difference, rows_to_try
from tests import tiny
from tests.wrpo.test_shared_prompt import rows
from tests.wrpo.test_trainer import trained


def test_in_bf16_reference_and_training_try_the_layout_in_bf16(tmp_path, monkeypatch):
    kinds = []

    def noted(query, *others):
        kinds.append(query.dtype)
        return prompt_attention.attend_to_both(query, *others)

    monkeypatch.setattr(shared_prompt, "attend_to_both", noted)
    trained(tiny.folder(tmp_path / "start"), tmp_path, precision="bf16", max_steps=1)
    assert kinds and set(kinds) == {torch.bfloat16}


def drawn(seed: int, sigma: float, shift: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities (3, 3) in two layouts, which differ by rounding and by a shift of each token; and the lengths."""
    dice = np.random.default_rng(seed)
    lengths = torch.from_numpy(dice.integers(20, 300, size=(3, 3)))
    apart = torch.from_numpy(dice.normal(0, sigma, size=(3, 3))) * lengths.sqrt() + shift * lengths
    return -1.5 * lengths.double() + apart, -1.5 * lengths.double(), lengths


def test_in_bf16_what_rounding_does_passes_and_a_small_shift_is_found():
    for seed in range(200):
        assert find_difference(*drawn(seed, 0.075, 0.0), "bf16") is None
        assert "nats per root of a token" in (find_difference(*drawn(seed, 0.075, 0.05), "bf16") or "")


def test_in_fp32_a_thousandth_is_found():
    assert find_difference(*drawn(0, 1e-5, 0.0), "fp32") is None
    assert "differ by" in (find_difference(*drawn(0, 0.0, 2e-3), "fp32") or "")


def test_the_rows_tried_have_the_same_roles_and_middle_lengths():
    given = rows([(length, 3, 3, 3) for length in (90, 5, 40, 70, 10, 60, 20)])
    odd = {name: value for name, value in given[0].items() if name != "own_worst"} | {"prompt_id": "odd"}
    assert [len(row["prompt"]) for row in rows_to_try([*given, odd])] == [40, 60, 70]
    assert len(rows_to_try(given[:2])) == 2 and len(rows_to_try(given[:1])) == 1
