"""Hidden states of a causal backbone at the last token of each text and at one place more, read in two ways that agree.

`whole` feeds every text as it is. `after_prompts` feeds each prompt once and lets all its responses go on from its keys
and values: of N responses to a prompt it computes one prompt instead of N.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tasks.loading import pad_rows
from tasks.scores.conversation import Text
from tasks.scores.grouping import even_lists

TOLERANCE = {torch.float32: 1e-4}  # relative, of a hidden state; computed in halves two ways differ by rounding alone
ROUNDING = 0.05

States = tuple[Tensor, Tensor]  # at the last tokens, at the places: (texts, hidden size) each


def read_whole(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int]) -> States:
    batch = {
        name: each.to(backbone.device) for name, each in pad_rows([text.ids for text in texts], None, "right").items()
    }
    hidden = backbone(**batch, use_cache=False).last_hidden_state
    return states_at(hidden, [len(text.ids) - 1 for text in texts]), states_at(hidden, places)


def after_prompts(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int], size: int) -> States:
    """`places` lie within the prompts. A forward holds at most `size` responses, sorted by length."""
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
    """The states at the end of each rest, which follows prompt number `which`. Padding between the two is masked, and no
    position is counted for it."""
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
    """Why a model may read otherwise after a prompt than in one go, and a few short texts would not show it."""
    config = backbone.config.get_text_config()
    windowed = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    if kinds := length_dependent(backbone):
        return f"its positions ({', '.join(kinds)}) depend on the longest text of a batch"
    if windowed and windowed < longest:
        return f"a {config.model_type} model attends to {windowed} tokens, a text may have {longest}"
    if odd := set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
        return f"a {config.model_type} model has layers of {', '.join(sorted(odd))}"
    return None


def length_dependent(backbone: PreTrainedModel) -> list[str]:
    """Kinds of rotary positions whose frequencies change for a whole batch once one text in it is long."""
    asked = getattr(backbone.config.get_text_config(), "rope_parameters", None) or {}
    kinds = {asked.get("rope_type")} | {one.get("rope_type") for one in asked.values() if isinstance(one, dict)}
    return sorted({"dynamic", "longrope"} & kinds)


def find_disagreement(backbone: PreTrainedModel, texts: Sequence[Text], places: Sequence[int]) -> str | None:
    """Whether the two ways give the same states on these texts, tried."""
    expected = torch.cat(read_whole(backbone, texts, places))
    try:
        found = torch.cat(after_prompts(backbone, texts, places, len(texts)))
    except (TypeError, ValueError, AttributeError) as error:  # no cache, or another kind of it
        return f"a {backbone.config.model_type} model cannot go on from a prompt: {error}"
    apart = ((found - expected).float().norm(dim=1) / expected.float().norm(dim=1).clamp(min=1e-6)).max().item()
    allowed = TOLERANCE.get(backbone.dtype, ROUNDING)
    return None if apart < allowed else f"its states would differ by {apart:.1e} (relative)"
