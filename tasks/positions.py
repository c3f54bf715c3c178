"""Rotary positions that depend on the batch: with two kinds of them, the longest row of a batch changes the other rows.

transformers computes `dynamic` and `longrope` frequencies once per batch, from the longest row, as soon as that is longer
than the model's original context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from infra.errors import BadInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class PositionLimit(NamedTuple):
    kind: str  # dynamic | longrope
    tokens: int  # of the longest row up to which no row depends on another


def position_limit(config: PretrainedConfig) -> PositionLimit | None:
    """None where no length changes the positions of other rows."""
    config = config.get_text_config()
    whole = getattr(config, "rope_parameters", None) or {}
    limits = []
    for one in (whole, *whole.values()):  # some models have parameters per kind of layer
        kind = one.get("rope_type", "") if isinstance(one, dict) else ""
        if kind == "longrope":
            limits.append(PositionLimit(kind, one["original_max_position_embeddings"]))
        elif "dynamic" in kind:
            limits.append(PositionLimit(kind, config.max_position_embeddings))
    return min(limits, key=lambda limit: limit.tokens, default=None)


def refuse_longer_rows(config: PretrainedConfig, longest: int, room: str) -> None:
    """For trainings and their reference: raises BadInput where rows would depend on the batch they are in."""
    limit = position_limit(config)
    if limit and longest > limit.tokens:
        raise BadInput(
            f"{room}.max_length: the longest row has {longest} tokens; beyond {limit.tokens} tokens the model's positions"
            f" ({limit.kind}) depend on the longest row of a batch, so one row would change others: set it to {limit.tokens}"
        )
