"""Stand-ins on a CPU for the attention kernel of a GPU: one by plain formulas, one by PyTorch's flash attention for CPUs."""

import itertools

import torch
from torch import Tensor

from tasks.wrpo.line_attention import Ends
from tasks.wrpo.prompt_attention import flash, flash_backward


def sequences(*lines: Tensor, ends: Ends) -> list[tuple[Tensor, ...]]:
    """The parts of each line that belong to a sequence, as (heads, tokens, size)."""
    places = ends.ends.tolist()
    return [tuple(line[start:end].transpose(0, 1) for line in lines) for start, end in itertools.pairwise(places)]


def joined(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.transpose(0, 1) for part in parts])


def shared_heads(key: Tensor, heads: int) -> Tensor:
    return key.repeat_interleave(heads // len(key), 0)


def summed_heads(gradient: Tensor, heads: int) -> Tensor:
    return gradient.view(heads, -1, *gradient.shape[1:]).sum(1)


class FormulaKernel:
    """The formulas of flash attention, in any precision."""

    def scores(self, query: Tensor, key: Tensor, causal: bool, scale: float) -> Tensor:
        found = query @ shared_heads(key, len(query)).transpose(1, 2) * scale
        later = torch.ones(found.shape[-2:]).triu(1).bool()
        return found.masked_fill(later, float("-inf")) if causal else found

    def forward(self, query, key, value, asks, answers, causal, scale):
        outputs, sums = [], []
        for (q,), (k, v) in zip(sequences(query, ends=asks), sequences(key, value, ends=answers), strict=True):
            scores = self.scores(q, k, causal, scale)
            outputs.append(scores.softmax(-1) @ shared_heads(v, len(q)))
            sums.append(scores.logsumexp(-1))
        return joined(outputs), joined(sums)

    def backward(self, gradient, query, key, value, output, log_sum, asks, answers, causal, scale):
        found = []
        asked = sequences(gradient, query, output, log_sum, ends=asks)
        for (g, q, out, total), (k, v) in zip(asked, sequences(key, value, ends=answers), strict=True):
            chances = (self.scores(q, k, causal, scale) - total[..., None]).exp()
            on_chances = g @ shared_heads(v, len(q)).transpose(1, 2)
            on_scores = chances * (on_chances - (g * out).sum(-1, keepdim=True)) * scale
            to_key, to_value = on_scores.transpose(1, 2) @ q, chances.transpose(1, 2) @ g
            found.append((on_scores @ shared_heads(k, len(q)), *(summed_heads(x, len(k)) for x in (to_key, to_value))))
        return tuple(joined(list(parts)) for parts in zip(*found, strict=True))


class CpuFlashKernel:
    """PyTorch's flash attention for CPUs, sequence by sequence."""

    def forward(self, query, key, value, asks, answers, causal, scale):
        outputs, sums = [], []
        for (q,), (k, v) in zip(sequences(query, ends=asks), sequences(key, value, ends=answers), strict=True):
            k, v = (shared_heads(x, len(q)) for x in (k, v))
            output, log_sum = flash(q[None], k[None], v[None], 0.0, causal, attn_mask=None, scale=scale)
            outputs.append(output[0])
            sums.append(log_sum.reshape(q.shape[:2]))
        return joined(outputs), joined(sums)

    def backward(self, gradient, query, key, value, output, log_sum, asks, answers, causal, scale):
        found = []
        asked = sequences(gradient, query, output, log_sum, ends=asks)
        for (g, q, out, total), (k, v) in zip(asked, sequences(key, value, ends=answers), strict=True):
            many = [shared_heads(x, len(q))[None] for x in (k, v)]
            lines = g[None], q[None], *many, out[None], total[None]
            parts = flash_backward(*lines, 0.0, causal, attn_mask=None, scale=scale)
            to_query, to_key, to_value = (part[0] for part in parts)
            found.append((to_query, *(summed_heads(x, len(k)) for x in (to_key, to_value))))
        return tuple(joined(list(parts)) for parts in zip(*found, strict=True))


class LosesMerge(FormulaKernel):
    """As `varlen_attn` with autograd: its backward pass knows nothing of the other set of keys."""

    def backward(self, gradient, query, key, value, output, log_sum, asks, answers, causal, scale):
        own = self.forward(query, key, value, asks, answers, causal, scale)
        return super().backward(gradient, query, key, value, *own, asks, answers, causal, scale)


class IgnoresCausal(FormulaKernel):
    def scores(self, query, key, causal, scale):
        return super().scores(query, key, False, scale)


class MixesSums(FormulaKernel):
    """Gives the log-sum-exp of another head."""

    def forward(self, *given):
        output, log_sum = super().forward(*given)
        return output, log_sum.roll(1, dims=1)
