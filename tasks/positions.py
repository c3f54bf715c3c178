"""Finds models whose rotary positions depend on the batch: the longest row of a batch changes the other rows.

transformers computes `dynamic` and `longrope` frequencies once per batch, from the longest row, if that row is longer than
the model's original context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from infra.errors import BadInput

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class PositionLimit(NamedTuple):
    kind: str  # dynamic | longrope
    tokens: int  # up to this row length no row depends on another


def position_limit(config: PretrainedConfig) -> PositionLimit | None:
    """The row length up to which rows are independent; None if there is no limit."""
    config = config.get_text_config()
    whole = getattr(config, "rope_parameters", None) or {}
    limits = []
    for one in (whole, *whole.values()):  # some models have separate parameters per layer type
        kind = one.get("rope_type", "") if isinstance(one, dict) else ""
        if kind == "longrope":
            limits.append(PositionLimit(kind, one["original_max_position_embeddings"]))
        elif "dynamic" in kind:
            limits.append(PositionLimit(kind, config.max_position_embeddings))
    return min(limits, key=lambda limit: limit.tokens, default=None)


def refuse_longer_rows(config: PretrainedConfig, longest: int, room: str) -> None:
    """Raises BadInput if rows would depend on their batch. Used for training and for reference log-probs."""
    limit = position_limit(config)
    if limit and longest > limit.tokens:
        raise BadInput(
            f"{room}.max_length: the longest row has {longest} tokens; beyond {limit.tokens} tokens the model's positions"
            f" ({limit.kind}) depend on the longest row of a batch, so one row would change other rows; set"
            f" max_length to {limit.tokens}"
        )
