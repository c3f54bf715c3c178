"""The shared-prompt layout, which computes each prompt once for all its responses: packing of tokens, and its attention.

A packed line holds all prompts of a batch without padding, then all responses. A response attends to its prompt and to
itself. The attention is registered with transformers (`AttentionInterface`), and one normal forward pass computes all. It
uses no cache, because gradient checkpointing allows none. The LM head computes response positions only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, PreTrainedModel

from tasks.loading import out_of_memory
from tasks.wrpo.line_attention import CudaKernel, Kernel, MergedLine, line_lengths
from tasks.wrpo.prompt_attention import attend_to_both

NAME = "shared-prompt"
LINE = "shared-prompt-line"  # the same layout, by the kernel below
KERNEL: Kernel = CudaKernel()


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
    line = line_lengths([len(prompt) for prompt in prompts], [[len(row[name]) for name in names] for row in rows])
    return {
        "input_ids": torch.cat([*prompts, *fed]).long()[None],
        "position_ids": torch.cat(positions)[None],
        "shift_labels": torch.cat([row[name] for row in rows for name in names]).long()[None],
        "branch": torch.arange(len(fed)).repeat_interleave(lengths),
        "layout": make_grid("prompt", prompts) | make_grid("response", fed) | {"line": line},
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


def refuse_other_call(query: Tensor, attention_mask, layout, settings: dict) -> None:
    if layout is None or attention_mask is not None or query.shape[0] != 1:
        raise ValueError("the attention was called without a layout, or with a mask")
    if more := [name for name in ("softcap", "s_aux", "position_bias") if settings.get(name) is not None]:
        raise ValueError(f"the attention uses {', '.join(more)}")


def arithmetic_of(query: Tensor) -> torch.dtype:
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def attend_line(module, query: Tensor, key: Tensor, value: Tensor, attention_mask=None, layout=None, **settings):
    """As `attend_packed`, by a kernel for sequences of any lengths."""
    refuse_other_call(query, attention_mask, layout, settings)
    assert layout is not None
    lines = [x[0].transpose(0, 1).to(arithmetic_of(query)) for x in (query, key, value)]
    scale = settings.get("scaling") or query.shape[-1] ** -0.5
    return MergedLine.apply(*lines, layout["line"], scale, KERNEL)[None], None


def attend_packed(module, query: Tensor, key: Tensor, value: Tensor, attention_mask=None, layout=None, **settings):
    """transformers' attention interface over one packed line: (1, heads, tokens, size) in, (1, tokens, heads, size) out."""
    refuse_other_call(query, attention_mask, layout, settings)
    assert layout is not None
    groups = query.shape[1] // key.shape[1]
    heads = query, *(repeat_heads(x, groups) for x in (key, value))
    lines = [x[0].transpose(0, 1).to(arithmetic_of(query)) for x in heads]
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
AttentionInterface.register(LINE, attend_line)


@dataclass(frozen=True)
class Trial:
    """How a layout is tried: `run` computes log-probabilities in a layout, `compare` describes a difference between the shared
    and the padded layout, `agree` shares a problem with the other processes of the group."""

    run: Callable[[str], Tensor]
    compare: Callable[[Tensor, Tensor], str | None]
    agree: Callable[[str | None], str | None]


def install_attention(
    model: PreTrainedModel, longest: int, trial: Trial, ways: tuple[str, ...] = (NAME,)
) -> str | None:
    """Sets the packed attention, and makes the model return last hidden states of response positions only.

    Compares it with the padded layout first. Uses the first of the `ways` that agrees; if none does, leaves the model as it
    was and returns the last reason.
    """
    problem = find_layout_objection(model, longest)
    for way in () if problem else ways:
        problem = trial.agree(try_way(model, way, trial))
        if not problem:
            add_hook(model)
            model.set_attn_implementation(way)
            return None
        if way == LINE:
            print(f"how.layout: the shared prompt is computed with a mask, because {problem}", flush=True)
    return problem


@torch.no_grad()
def try_way(model: PreTrainedModel, way: str, trial: Trial) -> str | None:
    """Compares a packed attention with the padded layout, and restores the model. The packed one goes first: a split model
    that fails in a later pass would have weights of its next layers on their way."""
    before = model.config._attn_implementation
    assert before is not None  # find_layout_objection allows only "sdpa" and "eager"
    model.set_attn_implementation(way)
    if model.config._attn_implementation != way:
        return f"the attention of a {model.config.model_type} model cannot be set"
    hook = add_hook(model)
    # The model may pass other arguments to its attention; a GPU may lack the kernel.
    failures = (TypeError, ValueError, *((RuntimeError,) if way == LINE else ()))
    try:
        found = trial.run(NAME)
    except failures as error:
        if out_of_memory(error):
            raise
        return f"a {model.config.model_type} model does not accept the packed inputs: {error}"
    finally:
        hook.remove()
        model.set_attn_implementation(before)
    return trial.compare(found, trial.run("padded"))


def add_hook(model: PreTrainedModel) -> RemovableHandle:
    return model.base_model.register_forward_hook(keep_responses, with_kwargs=True)


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
