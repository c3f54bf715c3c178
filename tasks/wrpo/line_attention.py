"""Attention over a packed line on GPUs, in tensors (tokens, heads, size): no mask, no padding, no copy of a prompt's keys.

Two flash attentions over sequences of any lengths: every prompt and every response attends to itself, and the responses of a
row attend to the row's prompt. They are merged by their log-sum-exp. A `Kernel` computes one such attention; torch's for CUDA
is an internal operator of `torch.nn.attention.varlen`, whose public function loses the gradient of the log-sum-exp.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

STEP, LARGEST = 8, 256  # flash attention needs head sizes that are multiples of STEP, at most LARGEST


class Ends(NamedTuple):
    """Sequences in a line: where each ends (the first entry is 0), and the longest one."""

    ends: Tensor
    longest: int


class Kernel(Protocol):
    """Attention of sequence i of the queries to sequence i of the keys; heads of keys may serve several heads of queries."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, asks: Ends, answers: Ends, causal: bool, scale: float
    ) -> tuple[Tensor, Tensor]:
        """The outputs, and the log-sum-exp of the scores (tokens, heads)."""
        ...

    def backward(
        self, gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, log_sum: Tensor,
        asks: Ends, answers: Ends, causal: bool, scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """The gradients of query, key and value; probabilities are exp(score - log_sum)."""
        ...


class CudaKernel:
    """Flash attention of torch for CUDA."""

    def forward(self, query, key, value, asks, answers, causal, scale):
        output, log_sum, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, asks.ends, answers.ends, asks.longest, answers.longest, 0.0, causal, False, scale=scale
        )
        return output, log_sum.transpose(0, 1)

    def backward(self, gradient, query, key, value, output, log_sum, asks, answers, causal, scale):
        no_dropout = torch.zeros(2, dtype=torch.uint64, device=query.device), torch.empty(0, device=query.device)
        lines = gradient, query, key, value, output, log_sum.transpose(0, 1).contiguous()
        lengths = asks.ends, answers.ends, asks.longest, answers.longest
        return torch.ops.aten._flash_attention_backward(*lines, *lengths, 0.0, causal, *no_dropout, scale=scale)


class MergedLine(torch.autograd.Function):
    """Every response attends to its row's prompt and to itself: softmax over two sets of keys, as in `prompt_attention.Merged`.

    In the backward pass both attentions get the merged output and log-sum-exp, thus their probabilities are those over both
    sets, and the gradients of the two add up.
    """

    @staticmethod
    def forward(ctx, query, key, value, line: dict, scale: float, kernel: Kernel):
        own = ends_of(line, "own")
        output, log_sum = kernel.forward(query, key, value, own, own, True, scale)
        if line["prompts_longest"]:
            place, count = asking_tokens(line), line["prompt_tokens"]
            both = ends_of(line, "asks"), ends_of(line, "prompts")
            found = kernel.forward(query[place], key[:count], value[:count], *both, False, scale)
            output[place], log_sum[place] = merge_parts(output[place], log_sum[place], *found)
        ctx.save_for_backward(query, key, value, output, log_sum)
        ctx.others = line, scale, kernel
        return output

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, output, log_sum = ctx.saved_tensors
        (line, scale, kernel), gradient = ctx.others, gradient.contiguous()
        own = ends_of(line, "own")
        found = kernel.backward(gradient, query, key, value, output, log_sum, own, own, True, scale)
        if line["prompts_longest"]:
            place, count = asking_tokens(line), line["prompt_tokens"]
            both = ends_of(line, "asks"), ends_of(line, "prompts")
            asked = [x[place] for x in (gradient, query)]
            answered = [x[place] for x in (output, log_sum)]
            more = kernel.backward(*asked, key[:count], value[:count], *answered, *both, False, scale)
            for where, total, part in zip((place, slice(count), slice(count)), found, more, strict=True):
                total[where] += part
        return *found, None, None, None


def merge_parts(output: Tensor, log_sum: Tensor, other: Tensor, its_sum: Tensor) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp over two sets of keys, from those over each: outputs (tokens, heads, size)."""
    total = torch.logaddexp(log_sum, its_sum)
    weights = ((part - total).exp()[..., None] for part in (log_sum, its_sum))
    merged = sum(part.to(total.dtype) * weight for part, weight in zip((output, other), weights, strict=True))
    return torch.as_tensor(merged).to(output.dtype), total


def ends_of(line: dict, name: str) -> Ends:
    return Ends(line[f"{name}_ends"], line[f"{name}_longest"])


def asking_tokens(line: dict) -> Any:
    """The places of the tokens that attend to a prompt: an index, or a slice if every row has a prompt."""
    return line["asking"] if "asking" in line else slice(line["prompt_tokens"], None)


def line_lengths(prompts: list[int], responses: list[list[int]]) -> dict[str, Any]:
    """Describes a packed line, from the lengths of the prompts and of each row's responses: the sequences that attend to
    themselves (`own`), and for each row with a prompt token its responses (`asks`) and its prompt (`prompts`)."""
    rows, with_prompt = [sum(some) for some in responses], [length for length in prompts if length]
    sequences = {
        "own": [*with_prompt, *(length for some in responses for length in some)],
        "asks": [length for length, prompt in zip(rows, prompts, strict=True) if prompt],
        "prompts": with_prompt,
    }
    line: dict[str, Any] = {"prompt_tokens": sum(prompts)}
    for name, lengths in sequences.items():
        line[f"{name}_ends"] = torch.tensor([0, *lengths]).cumsum(0).int()
        line[f"{name}_longest"] = max(lengths, default=0)
    if 0 < len(with_prompt) < len(prompts):
        marks = torch.tensor([bool(prompt) for prompt in prompts]).repeat_interleave(torch.tensor(rows))
        line["asking"] = sum(prompts) + marks.nonzero().flatten()
    return line


def find_objection(device: torch.device, kind: torch.dtype, size: int) -> str | None:
    """Why torch's flash attention for CUDA cannot be used; None if it can."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if kind not in (torch.bfloat16, torch.float16):
        return f"the arithmetic is in {kind}"
    if size % STEP or size > LARGEST:
        return f"its heads have size {size}"
    return None


def find_kernel_fault(
    kernel: Kernel, device: torch.device, kind: torch.dtype, heads: int, key_heads: int, size: int
) -> str | None:
    """Compares outputs and gradients of a short random line with the plain formula in fp32. A wrong gradient raises no error:
    it only gives a worse model."""
    line = line_lengths([5, 0, 33], [[4, 1, 7], [3, 2, 9], [17, 40, 2]])
    dice, tokens = torch.Generator().manual_seed(0), int(line["own_ends"][-1])
    draw = lambda count: torch.randn(tokens, count, size, generator=dice).to(device, kind)
    given = [draw(count).requires_grad_() for count in (heads, key_heads, key_heads)]
    plain = [x.detach().float().requires_grad_() for x in given]
    weights, scale = draw(heads), size**-0.5
    placed = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in line.items()}
    query, key, value = plain
    found, expected = MergedLine.apply(*given, placed, scale, kernel), attend_plainly(query, key, value, line, scale)
    (found * weights).sum().backward()
    (expected * weights.float()).sum().backward()
    pairs = [(found, expected), *((one.grad, other.grad) for one, other in zip(given, plain, strict=True))]
    limit = 2e-2 if kind in (torch.bfloat16, torch.float16) else 1e-4
    for name, (one, other) in zip(("output", "query's", "key's", "value's"), pairs, strict=True):
        apart = ((one.float() - other).norm() / other.norm()).item()
        if not apart < limit:
            return f"{name} {'' if name == 'output' else 'gradient '}differs by {apart:.1e} (relative)"
    return None


def attend_plainly(query: Tensor, key: Tensor, value: Tensor, line: dict, scale: float) -> Tensor:
    """The same attention by one softmax over all tokens of the line, most of them masked."""
    groups, ends = query.shape[1] // key.shape[1], line["own_ends"].long()
    lengths = ends.diff()
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    own = (sequence[:, None] == sequence) & torch.ones(len(sequence), len(sequence)).tril().bool()
    row_asked, row_asking = (
        torch.arange(len(line[f"{name}_ends"]) - 1).repeat_interleave(line[f"{name}_ends"].diff())
        for name in ("prompts", "asks")
    )
    before = torch.zeros_like(own)
    before[torch.arange(len(sequence))[asking_tokens(line)], : line["prompt_tokens"]] = row_asking[:, None] == row_asked
    keys, values = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, keys) * scale
    scores = scores.masked_fill(~(own | before).to(query.device), float("-inf"))
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), values)
