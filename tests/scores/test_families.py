"""Any sequence classifier with one logit: wherever its head is called what it is, and reads where it reads."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    Gemma2Config,
    Gemma2ForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from tests import tiny
from tests.scores.scoring import scored

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "num_labels": 1,
    "vocab_size": 110,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": (LlamaForSequenceClassification, LlamaConfig(**SMALL, num_key_value_heads=1), "shared-prompt"),
    "qwen2": (Qwen2ForSequenceClassification, Qwen2Config(**SMALL, num_key_value_heads=1), "shared-prompt"),
    "gemma2": (
        Gemma2ForSequenceClassification,
        Gemma2Config(**SMALL, num_key_value_heads=1, head_dim=16),
        "shared-prompt",
    ),
    "gpt2": (
        GPT2ForSequenceClassification,
        GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=110, num_labels=1, initializer_range=0.3, pad_token_id=0),
        "shared-prompt",
    ),
    "windowed": (  # Gemma again, with a window that a long text leaves
        Gemma2ForSequenceClassification,
        Gemma2Config(**SMALL, num_key_value_heads=1, head_dim=16, sliding_window=64),
        "padded",
    ),
    "deberta": (DebertaV2ForSequenceClassification, DebertaV2Config(**SMALL, type_vocab_size=0), "whole"),
    "roberta": (RobertaForSequenceClassification, RobertaConfig(**SMALL, type_vocab_size=1), "whole"),
}
TEXTS = ("", "no", "yes, " * 20, "perhaps", "z" * 90)
ROWS = [
    {"content_id": f"{p}-{t}", "messages": [{"role": "user", "content": "why? " * (5 * p + 1)}], "text": text}
    for p in range(3)
    for t, text in enumerate(TEXTS)
]


def saved(family: str, path, dtype: torch.dtype = torch.float32):
    kind, config, _ = FAMILIES[family]
    torch.manual_seed(3)
    kind(config).to(dtype).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def own(family: str, path, row: dict) -> float:
    """transformers' own forward of one text, without padding."""
    turns = [*row["messages"], {"role": "assistant", "content": row["text"]}]
    ids = AutoTokenizer.from_pretrained(path).apply_chat_template(turns, tokenize=True, return_dict=False)
    with torch.no_grad():
        return FAMILIES[family][0].from_pretrained(path).eval()(torch.tensor([ids])).logits.item()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_scores_as_the_models_own_forward_of_each_text(tmp_path, family):
    model = saved(family, tmp_path / "model")
    found, summary = scored(model, tmp_path / "out", ROWS, 6)
    assert summary["layout"] == FAMILIES[family][2]
    expected = [own(family, model, row) for row in ROWS]
    spread = np.std(expected)
    assert spread > 1e-3
    assert [found[row["content_id"]]["score"] for row in ROWS] == pytest.approx(expected, abs=1e-3 * spread)


@pytest.mark.parametrize("family", ["llama", "deberta"])
def test_the_head_of_a_model_in_halves_is_computed_in_fp32(tmp_path, family):
    found, _ = scored(saved(family, tmp_path / "model", torch.bfloat16), tmp_path / "out", ROWS, 6)
    scores = torch.tensor([row["score"] for row in found.values()])
    assert (scores != scores.bfloat16().float()).float().mean() > 0.9
