"""Attention over a packed line: outputs and gradients against a loop over tokens, and what guards a GPU's kernel."""

import pytest
import torch

from tasks.wrpo import layout_trial, line_attention, shared_prompt
from tasks.wrpo.batches import lay_out, response_log_probs
from tasks.wrpo.layout_trial import make_ready
from tasks.wrpo.line_attention import (
    CudaKernel,
    MergedLine,
    find_kernel_fault,
    find_objection,
    line_lengths,
    merge_parts,
)
from tests.wrpo.kernels import CpuFlashKernel, FormulaKernel, IgnoresCausal, LosesMerge, MixesSums
from tests.wrpo.test_shared_prompt import EVEN, ONE_TOKEN, RAGGED, answers, llama, rows

LINES = {  # lengths of prompts, and of each row's responses
    "ragged": ([3, 5], [[2, 4, 1], [1, 1, 6]]),
    "a row without a prompt token": ([3, 0, 2], [[2, 1], [4, 3], [1, 2]]),
    "no prompt token at all": ([0, 0], [[2, 1], [3, 3]]),
    "one row": ([7], [[5]]),
}


def by_tokens(query, key, value, prompts, responses, scale):
    """One softmax for each token and head, over the keys that it may see."""
    starts = [sum(prompts[:row]) for row in range(len(prompts))]
    sees, at = [], 0
    for start, length in zip(starts, prompts, strict=True):
        sees += [range(start, start + place + 1) for place in range(length)]
    at = sum(prompts)
    for row, lengths in enumerate(responses):
        for length in lengths:
            before = range(starts[row], starts[row] + prompts[row])
            sees += [[*before, *range(at, at + place + 1)] for place in range(length)]
            at += length
    groups = query.shape[1] // key.shape[1]
    lines = []
    for token, keys in enumerate(sees):
        keys = list(keys)
        heads = [
            (query[token, head] @ key[keys, head // groups].T * scale).softmax(-1) @ value[keys, head // groups]
            for head in range(query.shape[1])
        ]
        lines.append(torch.stack(heads))
    return torch.stack(lines)


def drawn(tokens: int, dtype=torch.float64) -> list[torch.Tensor]:
    dice = torch.Generator().manual_seed(3)
    shapes = [(tokens, 4, 8), (tokens, 2, 8), (tokens, 2, 8)]
    return [torch.randn(*shape, generator=dice, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize(("prompts", "responses"), LINES.values(), ids=LINES)
@pytest.mark.parametrize(("kernel", "dtype"), [(FormulaKernel(), torch.float64), (CpuFlashKernel(), torch.float32)])
def test_outputs_and_gradients_are_those_of_a_loop_over_tokens(prompts, responses, kernel, dtype):
    line = line_lengths(prompts, responses)
    given, plain = (drawn(int(line["own_ends"][-1]), dtype) for _ in range(2))
    found, expected = MergedLine.apply(*given, line, 0.3, kernel), by_tokens(*plain, prompts, responses, 0.3)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    close = {"rtol": 1e-9, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found, expected, **close)
    for one, other in zip(given, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, **close)


def test_the_merge_is_one_softmax_over_both_sets_of_keys():
    dice = torch.Generator().manual_seed(1)
    scores, values = torch.randn(5, 2, 9, generator=dice).double() * 30, torch.randn(9, 4, generator=dice).double()
    parts = [
        (scores[..., some].softmax(-1) @ values[some], scores[..., some].logsumexp(-1))
        for some in (slice(3), slice(3, 9))
    ]
    output, log_sum = merge_parts(*parts[0], *parts[1])
    torch.testing.assert_close(output, scores.softmax(-1) @ values)
    torch.testing.assert_close(log_sum, scores.logsumexp(-1))


@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (FormulaKernel(), None),
        (CpuFlashKernel(), None),
        (LosesMerge(), r"query's gradient differs by"),
        (IgnoresCausal(), "output differs by"),
        (MixesSums(), "output differs by"),
    ],
)
def test_a_kernel_with_wrong_outputs_or_gradients_is_found(kernel, problem):
    found = find_kernel_fault(kernel, torch.device("cpu"), torch.float32, heads=4, key_heads=2, size=16)
    assert found is None if problem is None else problem in found


def use(kernel, monkeypatch) -> None:
    monkeypatch.setattr(shared_prompt, "KERNEL", kernel)
    monkeypatch.setattr(layout_trial, "find_objection", lambda *given: None)


@pytest.mark.parametrize("shapes", [RAGGED, EVEN, ONE_TOKEN, [(1, 3, 3, 3)]])
def test_a_model_has_the_log_probs_and_gradients_of_the_padded_way(shapes, monkeypatch):
    expected, theirs = answers("padded", shapes)
    use(CpuFlashKernel(), monkeypatch)
    seen = []
    monkeypatch.setattr(shared_prompt, "MergedLine", recorded(seen))
    found, ours = answers("shared-prompt", shapes)
    assert seen and (found - expected).abs().max() < 1e-4
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()


def recorded(seen: list):
    class Recorded:
        @staticmethod
        def apply(*given):
            seen.append(given)
            return MergedLine.apply(*given)

    return Recorded


@pytest.mark.parametrize("kernel", [LosesMerge(), IgnoresCausal()])
def test_a_faulty_kernel_is_not_used(kernel, monkeypatch, capsys):
    use(kernel, monkeypatch)
    model = llama()
    assert make_ready(model, rows(RAGGED), 0, "shared-prompt") == "shared-prompt"
    assert model.config._attn_implementation == shared_prompt.NAME
    assert "computed with a mask, because the flash attention fails" in capsys.readouterr().out


def test_a_kernel_that_fails_with_the_model_alone_is_not_used(monkeypatch, capsys):
    """The fault shows in the model's trial; the model is then what it is without the kernel."""
    use(IgnoresCausal(), monkeypatch)
    monkeypatch.setattr(layout_trial, "find_kernel_fault", lambda *given: None)
    model, given = llama(), rows(RAGGED)
    assert make_ready(model, given, 0, "shared-prompt") == "shared-prompt"
    assert model.config._attn_implementation == shared_prompt.NAME
    assert "computed with a mask, because the log-probabilities differ by" in capsys.readouterr().out
    plain = llama()
    make_ready(plain, given, 0, "padded")
    found, expected = (
        response_log_probs(one, lay_out(given, 0, how)) for one, how in ((model, "shared-prompt"), (plain, "padded"))
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


class Fails(FormulaKernel):
    def __init__(self, error: Exception):
        self.error = error

    def forward(self, *given):
        raise self.error


def test_a_gpu_without_the_kernel_uses_the_mask_and_one_without_memory_says_so(monkeypatch):
    model = llama()
    use(Fails(RuntimeError("no kernel image is available")), monkeypatch)
    assert make_ready(model, rows(RAGGED), 0, "shared-prompt") == "shared-prompt"
    assert model.config._attn_implementation == shared_prompt.NAME
    use(Fails(torch.OutOfMemoryError("too much")), monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        make_ready(llama(), rows(RAGGED), 0, "shared-prompt")


@pytest.mark.parametrize(
    ("device", "kind", "size", "problem"),
    [
        ("cuda", torch.bfloat16, 128, None),
        ("cuda", torch.float32, 128, "the arithmetic is in torch.float32"),
        ("cuda", torch.bfloat16, 100, "its heads have size 100"),
        ("cuda", torch.bfloat16, 512, "its heads have size 512"),
        ("cpu", torch.bfloat16, 128, "the device is cpu"),
    ],
)
def test_the_device_and_the_arithmetic_choose_the_kernel(device, kind, size, problem):
    assert find_objection(torch.device(device), kind, size) == problem


def test_torchs_operators_take_these_arguments():
    """Without a GPU only their shapes can be checked, by torch's own description of them."""
    line = {name: value.to("meta") if isinstance(value, torch.Tensor) else value for name, value in
            line_lengths([3, 0, 2], [[2, 1], [4, 3], [1, 2]]).items()}  # fmt: skip
    given = [torch.empty(18, heads, 8, device="meta", dtype=torch.bfloat16, requires_grad=True) for heads in (4, 2, 2)]
    line["asking"] = torch.empty(6, dtype=torch.long, device="meta")
    found = MergedLine.apply(*given, line, 0.3, CudaKernel())
    assert found.shape == given[0].shape and found.dtype == torch.bfloat16
    found.sum().backward()
    assert all(one.grad.shape == one.shape for one in given)


def test_on_a_cpu_nothing_of_it_is_used():
    model = llama()
    assert layout_trial.ways_on(model, torch.device("cpu"), "bf16") == (shared_prompt.NAME,)
    assert line_attention.find_objection(torch.device("cpu"), torch.float32, 8)
