"""Hidden states of a causal backbone at each text's last token and at one more position, computed in two equivalent ways.

`read_whole` computes every text completely. `after_prompts` computes each prompt once, and continues all its responses
from the prompt's keys and values: for N responses it computes the prompt once instead of N times.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tasks.loading import pad_rows
from tasks.scores.conversation import Text
from tasks.scores.grouping import even_lists

TOLERANCE = {torch.float32: 1e-4}  # allowed relative difference of hidden states
ROUNDING = 0.05  # the same for other precisions, where rounding alone makes the two ways differ more

States = tuple[Tensor, Tensor]  # at the last tokens, at `places`; each (texts, hidden size)


def read_whole(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int]) -> States:
    batch = {
        name: each.to(backbone.device) for name, each in pad_rows([text.ids for text in texts], None, "right").items()
    }
    hidden = backbone(**batch, use_cache=False).last_hidden_state
    return states_at(hidden, [len(text.ids) - 1 for text in texts]), states_at(hidden, places)


def after_prompts(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int], size: int) -> States:
    """`places` must be inside the prompts. A forward pass has at most `size` responses, sorted by length."""
    prompts = list(dict.fromkeys(text.prompt_ids for text in texts))
    number = {prompt: index for index, prompt in enumerate(prompts)}
    which = torch.tensor([number[text.prompt_ids] for text in texts], device=backbone.device)
    batch = {
        name: each.to(backbone.device) for name, each in pad_rows([list(one) for one in prompts], None, "right").items()
    }
    read = backbone(**batch, use_cache=True, past_key_values=DynamicCache())
    layers = [(layer.keys, layer.values) for layer in read.past_key_values.layers]
    last = read.last_hidden_state.new_empty(len(texts), read.last_hidden_state.shape[-1])
    for some in even_lists(
        sorted(range(len(texts)), key=lambda index: len(texts[index].ids) - texts[index].prompt), size
    ):
        rows = torch.tensor(some, device=backbone.device)
        rest = [texts[index].ids[texts[index].prompt :] for index in some]
        last[rows] = go_on(backbone, layers, batch["attention_mask"], which[rows], rest)
    return last, read.last_hidden_state[which, torch.tensor(places, device=which.device)]


def go_on(backbone: PreTrainedModel, layers: list, mask: Tensor, which: Tensor, rest: list[list[int]]) -> Tensor:
    """The state at the end of each `rest`, which continues prompt number `which`. Padding between the two is masked and does
    not count in the positions."""
    batch = {name: each.to(mask.device) for name, each in pad_rows(rest, None, "right").items()}
    before = mask[which]
    positions = before.sum(1, keepdim=True) + torch.arange(batch["input_ids"].shape[1], device=mask.device)
    hidden = backbone(
        input_ids=batch["input_ids"],
        attention_mask=torch.cat([before, batch["attention_mask"]], dim=1),
        position_ids=positions,
        past_key_values=DynamicCache([(keys[which], values[which]) for keys, values in layers]),
        use_cache=True,
    ).last_hidden_state
    return states_at(hidden, [len(ids) - 1 for ids in rest])


def states_at(hidden: Tensor, places: Sequence[int]) -> Tensor:
    return hidden[torch.arange(len(places), device=hidden.device), torch.tensor(places, device=hidden.device)]


def find_cache_objection(backbone: PreTrainedModel, longest: int) -> str | None:
    """Names a feature of the model that may make the two ways differ; find_disagreement on short texts may not detect it."""
    config = backbone.config.get_text_config()
    windowed = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    if kinds := length_dependent(backbone):
        return f"its positions ({', '.join(kinds)}) depend on the longest text of a batch"
    if windowed and windowed < longest:
        return f"a {config.model_type} model attends only to {windowed} tokens, but a text may have {longest}"
    if odd := set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"a {config.model_type} model has layers of {', '.join(sorted(odd))}"
    return None


def length_dependent(backbone: PreTrainedModel) -> list[str]:
    """The model's kinds of rotary positions whose frequencies change for a whole batch if one text in it is long."""
    parameters = getattr(backbone.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {parameters.get("rope_type")} | {
        one.get("rope_type") for one in parameters.values() if isinstance(one, dict)
    }
    return sorted({"dynamic", "longrope"} & kinds)


def find_disagreement(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int]) -> str | None:
    """Computes the states of these texts in both ways; returns the reason if they differ, otherwise None."""
    expected = torch.cat(read_whole(backbone, texts, places))
    try:
        found = torch.cat(after_prompts(backbone, texts, places, len(texts)))
    except (TypeError, ValueError, AttributeError) as error:  # the model has no cache, or another kind of cache
        return f"a {backbone.config.model_type} model cannot continue from a stored prompt: {error}"
    apart = ((found - expected).float().norm(dim=1) / expected.float().norm(dim=1).clamp(min=1e-6)).max().item()
    allowed = TOLERANCE.get(backbone.dtype, ROUNDING)
    return None if apart < allowed else f"its hidden states differ by {apart:.1e} (relative)"
