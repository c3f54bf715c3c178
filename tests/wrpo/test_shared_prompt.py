"""The shared prompt against the plain padded way: log-probabilities, gradients, ragged rows, and models it does not fit."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tasks.wrpo import prompt_attention, shared_prompt
from tasks.wrpo.batches import RESPONSES, lay_out, make_ready, response_log_probs
from tests import tiny

VOCABULARY = 97
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2, "bos_token_id": 1,
    "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
RAGGED = [(9, 4, 5, 6), (3, 7, 2, 1), (40, 30, 3, 22)]
EVEN = [(8, 6, 6, 6)] * 2
ONE_TOKEN = [(1, 2, 3, 1), (7, 1, 1, 1)]


def rows(shapes) -> list[dict]:
    """Random tokens; a shape is the lengths of prompt, y_ws, y_wt, y_l."""
    seed = torch.Generator().manual_seed(1)
    ids = lambda length: torch.randint(0, VOCABULARY, (length,), generator=seed, dtype=torch.int32)
    parts = [dict(zip(("prompt", *RESPONSES), map(ids, shape), strict=True)) for shape in shapes]
    return [{"prompt_id": str(number)} | part for number, part in enumerate(parts)]


def llama(dtype=torch.float32) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL)).to(dtype).eval()


def answers(layout: str, shapes, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (3, B), and the gradient of a sum that weighs each of them differently."""
    model, given = llama(dtype), rows(shapes)
    assert make_ready(model, given, 0, layout) == layout
    found = response_log_probs(model, lay_out(given, 0, layout))
    (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    return found.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("shapes", [RAGGED, EVEN, ONE_TOKEN, [(1, 3, 3, 3)]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("merged", [True, False])
def test_log_probs_and_gradients_are_those_of_the_padded_way(shapes, dtype, merged, monkeypatch):
    if not merged:
        monkeypatch.setattr(shared_prompt, "attend_to_both", prompt_attention.attend_masked)
    (expected, theirs), (found, ours) = (answers(layout, shapes, dtype) for layout in ("padded", "shared-prompt"))
    assert (found - expected).abs().max() < 1e-4
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def test_the_merged_attention_has_the_gradient_of_finite_differences():
    torch.manual_seed(2)
    responses = [torch.randn(4, 3, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    prompts = [torch.randn(2, 5, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    real = torch.arange(5) < torch.tensor([[5], [2]])
    given = lambda *x: prompt_attention.attend_to_both(*x, real, None)
    torch.testing.assert_close(
        given(*responses, *prompts), prompt_attention.attend_masked(*responses, *prompts, real, None)
    )
    assert torch.autograd.gradcheck(given, (*responses, *prompts))


def test_a_prompt_is_fed_once_and_the_head_sees_responses_alone():
    given = rows(RAGGED)
    batch = lay_out(given, 0, "shared-prompt")
    responses = sum(len(row[name]) for row in given for name in RESPONSES)
    assert batch["input_ids"].shape[1] == responses + sum(len(row["prompt"]) - 1 for row in given)
    assert batch["shift_labels"].shape[1] == responses
    model = llama()
    make_ready(model, given, 0, "shared-prompt")
    seen = []
    model.base_model.register_forward_hook(lambda module, given, output: seen.append(output.last_hidden_state.shape[1]))
    response_log_probs(model, batch)
    assert seen == [responses]


def test_no_token_sees_another_row_or_another_response():
    """Log-probabilities of a row alone are those in company, to the last bit but one."""
    given, model = rows(RAGGED), llama(torch.float64)
    make_ready(model, given, 0, "shared-prompt")
    together = response_log_probs(model, lay_out(given, 0, "shared-prompt"))
    for place, row in enumerate(given):
        alone = response_log_probs(model, lay_out([row], 0, "shared-prompt"))[:, 0]
        torch.testing.assert_close(together[:, place], alone, rtol=1e-6, atol=1e-5)


def test_gradient_checkpointing_changes_nothing():
    def gradient(checkpointing: bool) -> torch.Tensor:
        model, given = llama(), rows(RAGGED)
        make_ready(model, given, 0, "shared-prompt")
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        response_log_probs(model, lay_out(given, 0, "shared-prompt")).sum().backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    assert torch.equal(gradient(True), gradient(False))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LlamaForCausalLM(LlamaConfig(**SMALL)), None),
        (lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, head_dim=8)), None),
        (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)), None),
        (lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4096)), None),
        (lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=16)),
            "attends only to 16 tokens, but the longest row has 70"),
        (lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8)), "the attention uses softcap"),
        (lambda: BloomForCausalLM(BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)), "cannot be set"),
    ],
)  # fmt: skip
def test_a_model_uses_the_shared_layout_or_says_why_not(make, message, capsys):
    torch.manual_seed(0)
    model, plain, given = make().eval(), None, rows(RAGGED)
    layout = make_ready(model, given, 0, "shared-prompt")
    assert layout == ("padded" if message else "shared-prompt")
    assert (message or "") in capsys.readouterr().out
    torch.manual_seed(0)
    plain = make().eval()
    make_ready(plain, given, 0, "padded")
    found, expected = (
        response_log_probs(model, lay_out(given, 0, layout)),
        response_log_probs(plain, lay_out(given, 0, "padded")),
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_a_model_that_would_answer_otherwise_is_left_as_it_was(monkeypatch, capsys):
    monkeypatch.setattr(shared_prompt, "attend_to_both", lambda query, key, value, *others: value)
    model, given = llama(), rows(RAGGED)
    assert make_ready(model, given, 0, "shared-prompt") == "padded"
    assert "log-probabilities differ by" in capsys.readouterr().out and model.config._attn_implementation == "sdpa"
    assert response_log_probs(model, lay_out(given, 0, "padded")).shape == (3, len(given))


def test_a_packed_line_without_its_layout_is_refused():
    model, given = llama(), rows(EVEN)
    make_ready(model, given, 0, "shared-prompt")
    with pytest.raises(ValueError, match="without a layout"):
        model.base_model(given[0]["prompt"].long()[None])


def test_the_layout_does_not_reach_the_saved_model(tmp_path):
    model = tiny.llama().eval()
    make_ready(model, rows(EVEN), 0, "shared-prompt")
    model.save_pretrained(tmp_path)
    assert "shared" not in (tmp_path / "config.json").read_text()
