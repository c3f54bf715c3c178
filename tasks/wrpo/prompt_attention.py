"""Attention of responses to their shared prompt and to themselves, in tensors (rows, positions, heads, size).

On CPUs it merges two flash attentions by their log-sum-exp: it copies no key and computes no masked score. This needs two
internal operators of PyTorch's `scaled_dot_product_attention`. On other devices it is one masked call.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
LOWEST = -1e30  # a prompt without any real key gets weight exactly 0 in the merge; -inf would give NaN


def attend_to_both(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prompt_key: Tensor,
    prompt_value: Tensor,
    real: Tensor,
    scale: float | None,
) -> Tensor:
    """The responses' outputs, from query, key and value of (B x n) responses, keys and values of B prompts, and `real`, the
    mask of prompt positions that are not padding."""
    if query.device.type == "cpu":
        bias = None if real.all() else torch.where(real, 0.0, LOWEST)[:, None, None].to(query.dtype)
        return Merged.apply(query, key, value, prompt_key, prompt_value, bias, scale)
    return attend_masked(query, key, value, prompt_key, prompt_value, real, scale)


def attend_masked(query, key, value, prompt_key, prompt_value, real, scale) -> Tensor:
    """One masked call over [prompt; response]; the prompt is repeated for each response."""
    (count, width), copies = query.shape[:2], len(query) // len(prompt_key)
    causal = torch.ones(width, width, dtype=torch.bool, device=query.device).tril()
    before = real.repeat_interleave(copies, 0)[:, None].expand(-1, width, -1)
    mask = torch.cat([before, causal.expand(count, -1, -1)], dim=2)[:, None]
    keys, values = (
        torch.cat([prompt.repeat_interleave(copies, 0), own], dim=1)
        for prompt, own in ((prompt_key, key), (prompt_value, value))
    )
    found = scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (query, keys, values)), attn_mask=mask, scale=scale
    )
    return found.transpose(1, 2)


class Merged(torch.autograd.Function):
    """softmax over two sets of keys = the two softmaxes, each weighted by exp(its log-sum-exp - log-sum-exp of both).

    In the backward pass each part gets the merged output and log-sum-exp, thus its probabilities are those over both sets.
    """

    @staticmethod
    def forward(ctx, query, key, value, prompt_key, prompt_value, bias, scale):
        outputs, sums = [], []
        for q, k, v, mask, causal in attention_parts(query, key, value, prompt_key, prompt_value, bias):
            output, log_sum = flash(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
            outputs.append(output.transpose(1, 2).reshape(query.shape))
            sums.append(log_sum.transpose(1, 2).reshape(query.shape[:3]))
        log_sum = torch.logaddexp(*sums)
        weights = [(part - log_sum).exp()[..., None].to(query.dtype) for part in sums]
        output = torch.addcmul(outputs[0] * weights[0], outputs[1], weights[1])
        ctx.save_for_backward(query, key, value, prompt_key, prompt_value, bias, output, log_sum)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, output, log_sum = ctx.saved_tensors
        query, gradient = inputs[0], gradient.contiguous()
        found = []
        for q, k, v, mask, causal in attention_parts(*inputs):
            lines = [heads_first(x, len(q)) for x in (gradient, output, log_sum)]
            parts_of = flash_backward(
                lines[0], q, k, v, lines[1], lines[2], 0.0, causal, attn_mask=mask, scale=ctx.scale
            )
            found.append([x.transpose(1, 2) for x in parts_of])
        (from_prompt, *prompt), (from_own, *own) = found
        return from_prompt.reshape(query.shape) + from_own, *own, *prompt, None, None


def attention_parts(query, key, value, prompt_key, prompt_value, bias) -> list[tuple]:
    """(query, key, value, mask, causal) of both flash attentions: a row's responses to its prompt, each response to itself."""
    rows = len(prompt_key)
    mask = None
    if bias is not None:
        places = query.shape[0] * query.shape[1] // rows
        mask = bias.expand(-1, query.shape[2], places, -1)
    on_prompt = heads_first(query, rows), prompt_key.transpose(1, 2), prompt_value.transpose(1, 2), mask, False
    return [on_prompt, (*(x.transpose(1, 2) for x in (query, key, value)), None, True)]


def heads_first(places: Tensor, rows: int) -> Tensor:
    """(responses, positions, heads, …) as (rows, heads, positions, …), with a row's responses one after another."""
    return places.reshape(rows, -1, *places.shape[2:]).transpose(1, 2)
