"""Perplexity of prompts against the model's own loss, in a batch of unlike lengths."""

import pytest
import torch

from tasks.evaluation.collectives.perplexity import compute_surprise
from tests.tiny import llama


def test_the_loss_of_a_prompt_does_not_depend_on_its_batch():
    model = llama(seed=3).eval()
    rows = [[1, 20, 30, 40, 50, 60], [1, 25, 35], [1]]
    *known, single = compute_surprise(model, rows, pad_token=0)
    for row, found in zip(rows, known, strict=False):
        ids = torch.tensor([row])
        assert found == pytest.approx(float(model(input_ids=ids, labels=ids).loss.detach()), rel=1e-5)
    assert single == float("inf")
