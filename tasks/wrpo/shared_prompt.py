"""The shared-prompt layout, which computes each prompt once for all its responses: packing of tokens, and its attention.

A packed line holds all prompts of a batch without padding, then all responses. A response attends to its prompt and to
itself. The attention is registered with transformers (`AttentionInterface`), and one normal forward pass computes all. It
uses no cache, because gradient checkpointing allows none. The LM head computes response positions only.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from tasks.wrpo.prompt_attention import attend_to_both

NAME = "shared-prompt"
TOLERANCE = 1e-3  # relative error of a response's log-probability; bf16 weights reach 1e-3 on a few tokens


def pack_rows(rows: list[dict], names: tuple[str, ...]) -> dict:
    """Packs the rows' tokens into one line, with their positions and the layout's indices.

    A prompt's last token is moved to the start of each of its responses, because it predicts their first token. A
    response's last token is predicted, but not an input. Thus exactly the response positions have labels.
    """
    prompts = [row["prompt"][:-1] for row in rows]
    fed = [torch.cat([row["prompt"][-1:], row[name][:-1]]) for row in rows for name in names]
    starts = [len(prompt) for prompt in prompts for _ in names]
    positions = [torch.arange(len(prompt)) for prompt in prompts]
    positions += [start + torch.arange(len(ids)) for start, ids in zip(starts, fed, strict=True)]
    lengths = torch.tensor([len(ids) for ids in fed])
    return {
        "input_ids": torch.cat([*prompts, *fed]).long()[None],
        "position_ids": torch.cat(positions)[None],
        "shift_labels": torch.cat([row[name] for row in rows for name in names]).long()[None],
        "branch": torch.arange(len(fed)).repeat_interleave(lengths),
        "layout": make_grid("prompt", prompts) | make_grid("response", fed),
    }


def make_grid(kind: str, parts: list[Tensor]) -> dict[str, Tensor]:
    """Maps packed parts to a padded grid: `at` is each cell's token index, `back` each token's cell, `real` marks tokens."""
    lengths = torch.tensor([len(part) for part in parts])
    width = max(int(lengths.max()), 1)
    real = torch.arange(width) < lengths[:, None]
    at = torch.where(real, real.flatten().cumsum(0).view_as(real) - 1, 0)
    return {f"{kind}_at": at, f"{kind}_back": real.flatten().nonzero().flatten(), f"{kind}_real": real}


class Pad(torch.autograd.Function):
    """Copies packed tokens (N, heads, size) to a grid (rows, width, heads, size). Padding cells hold any token; it is unused."""

    @staticmethod
    def forward(ctx, tokens: Tensor, at: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        if not len(tokens):
            return tokens.new_zeros(*at.shape, *tokens.shape[1:])
        return tokens.index_select(0, at.flatten()).view(*at.shape, *tokens.shape[1:])

    @staticmethod
    def backward(ctx, gradient: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (back,) = ctx.saved_tensors
        return gradient.reshape(-1, *gradient.shape[2:]).index_select(0, back), None, None


def pad_to_grid(tokens: Tensor, at: Tensor, back: Tensor) -> Tensor:
    if at.numel() == len(back):  # all parts have the same length: no padding needed
        return tokens.reshape(*at.shape, *tokens.shape[1:])
    return Pad.apply(tokens, at, back)


def unpad_grid(places: Tensor, back: Tensor) -> Tensor:
    tokens = places.reshape(-1, *places.shape[2:])
    return tokens if len(tokens) == len(back) else tokens.index_select(0, back)


def attend_packed(module, query: Tensor, key: Tensor, value: Tensor, attention_mask=None, layout=None, **settings):
    """transformers' attention interface over one packed line: (1, heads, tokens, size) in, (1, tokens, heads, size) out."""
    if layout is None or attention_mask is not None or query.shape[0] != 1:
        raise ValueError("the attention was called without a layout, or with a mask")
    if more := [name for name in ("softcap", "s_aux", "position_bias") if settings.get(name) is not None]:
        raise ValueError(f"the attention uses {', '.join(more)}")
    groups = query.shape[1] // key.shape[1]
    kind = torch.get_autocast_dtype(query.device.type) if torch.is_autocast_enabled(query.device.type) else query.dtype
    heads = query, *(repeat_heads(x, groups) for x in (key, value))
    lines = [x[0].transpose(0, 1).to(kind) for x in heads]
    sizes = [len(layout["prompt_back"]), len(layout["response_back"])]
    halves = [line.split(sizes) for line in lines]
    prompts, responses = (
        [pad_to_grid(half[place], layout[f"{kind}_at"], layout[f"{kind}_back"]) for half in halves]
        for place, kind in enumerate(("prompt", "response"))
    )
    scale = settings.get("scaling")
    q, k, v = (x.transpose(1, 2) for x in prompts)
    causal = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    q, k, v = responses
    after = attend_to_both(q, k, v, prompts[1], prompts[2], layout["prompt_real"], scale)
    both = [unpad_grid(causal.transpose(1, 2), layout["prompt_back"]), unpad_grid(after, layout["response_back"])]
    return torch.cat(both)[None], None


def repeat_heads(heads: Tensor, groups: int) -> Tensor:
    return heads if groups == 1 else heads.repeat_interleave(groups, dim=1)


AttentionInterface.register(NAME, attend_packed)


def install_attention(
    model: PreTrainedModel, longest: int, plain: Callable[[], Tensor], shared: Callable[[], Tensor]
) -> str | None:
    """Sets the packed attention, and makes the model return last hidden states of response positions only.

    Compares `plain` and `shared` on the caller's rows first. If they differ, restores the model and returns the reason.
    """
    if problem := find_layout_objection(model, longest):
        return problem
    before = model.config._attn_implementation
    assert before is not None  # find_layout_objection allows only "sdpa" and "eager"
    with torch.no_grad():
        expected = plain()
        model.set_attn_implementation(NAME)
        if model.config._attn_implementation != NAME:
            return f"the attention of a {model.config.model_type} model cannot be set"
        hook = model.base_model.register_forward_hook(keep_responses, with_kwargs=True)
        try:
            apart = ((shared() - expected).abs() / expected.abs().clamp(min=1)).max().item()
        except (TypeError, ValueError) as error:  # the model passes other arguments to its attention
            problem = f"a {model.config.model_type} model does not accept the packed inputs: {error}"
        else:
            problem = None if apart < TOLERANCE else f"the log-probabilities differ by {apart:.1e} (relative)"
    if problem:
        hook.remove()
        model.set_attn_implementation(before)
    return problem


def find_layout_objection(model: PreTrainedModel, longest: int) -> str | None:
    """Names a feature of the model that the packed attention lacks; the comparison on short rows may not detect it."""
    config = model.config.get_text_config()
    windowed = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    if windowed and windowed < longest:
        return f"a {config.model_type} model attends only to {windowed} tokens, but the longest row has {longest}"
    if odd := set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"a {config.model_type} model has layers of {', '.join(sorted(odd))}"
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return f"the model needs the attention {model.config._attn_implementation!r}"
    return None


def keep_responses(module, arguments, keywords, output):
    output.last_hidden_state = output.last_hidden_state[:, len(keywords["layout"]["prompt_back"]) :]
    return output


def log_probs(model: torch.nn.Module, batch: Mapping) -> Tensor:
    """log pi(y|x) of every response, summed over its tokens: (rows x responses,), in the order of `pack_rows`."""
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "shift_labels", "layout")}
    found = model(**inputs, use_cache=False, fused_lm_head=True).log_probs[0]
    responses = len(batch["layout"]["response_at"])
    return found.new_zeros(responses).index_add(0, batch["branch"], found)
