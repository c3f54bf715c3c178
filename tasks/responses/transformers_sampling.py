"""Logits processors that choose the next token: greedy or seeded top-p sampling, with a repetition penalty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessor

from infra.errors import BadInput

if TYPE_CHECKING:
    from tasks.responses.token_rows import TokenRequest


def sampling_steps(requests: list[TokenRequest], prompt_length: int, what: dict) -> list[LogitsProcessor]:
    """The processors from scores to a chosen token, in the same order as in vLLM."""
    steps: list[LogitsProcessor] = []
    if what["repetition_penalty"] != 1:
        steps.append(RepetitionPenalty([one.ids for one in requests], prompt_length, what["repetition_penalty"]))
    if not what["temperature"]:
        return [*steps, LikeliestChoice()]
    seeds, longest = [one.row["seed"] for one in requests], max(one.room for one in requests)
    return [*steps, SeededChoice(seeds, prompt_length, what["temperature"], what["top_p"], longest, what["top_k"])]


class SeededChoice(LogitsProcessor):
    """Samples each row's next token with random numbers from the row's seed: temperature, then top-k, then top-p."""

    def __init__(
        self,
        seeds: list[int],
        prompt_length: int,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        top_k: int = 0,
    ):
        rows = [
            torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
        self.noise, self.start = torch.stack(rows), prompt_length
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_bad_logits(scores)
        noise = self.noise[:, input_ids.shape[1] - self.start].to(scores.device)
        sorted_probabilities, order = torch.softmax(scores.double() / self.temperature, -1).sort(
            dim=-1, descending=True, stable=True
        )
        if self.top_k:
            sorted_probabilities[:, self.top_k :] = 0.0
            sorted_probabilities /= sorted_probabilities.sum(-1, keepdim=True)
        cumulative = sorted_probabilities.cumsum(-1)
        nucleus = sorted_probabilities.where(cumulative - sorted_probabilities < self.top_p, 0.0).cumsum(-1)
        rank = torch.searchsorted(nucleus, (noise * nucleus[:, -1]).unsqueeze(-1), right=True).clamp_max(
            scores.shape[-1] - 1
        )
        return torch.full_like(scores, float("-inf")).scatter(-1, order.gather(-1, rank), 0.0)


class LikeliestChoice(LogitsProcessor):
    """Greedy decoding: returns the scores unchanged, after the check that they are numbers."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_bad_logits(scores)
        return scores


class RepetitionPenalty(LogitsProcessor):
    """Lowers the scores of tokens that occur in the prompt or the answer. It ignores padding. The processor of transformers
    treats padding as part of the prompt, so a row would depend on the other rows of its batch."""

    def __init__(self, prompts: list[list[int]], prompt_length: int, penalty: float):
        self.prompts, self.start, self.penalty = prompts, prompt_length, penalty

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        seen = torch.zeros_like(scores, dtype=torch.bool)
        for row, prompt in enumerate(self.prompts):
            seen[row, prompt] = True
        seen.scatter_(-1, input_ids[:, self.start :], True)
        return scores.where(~seen, torch.where(scores < 0, scores * self.penalty, scores / self.penalty))


def refuse_bad_logits(scores: torch.Tensor) -> None:
    if not torch.isfinite(scores).any(dim=-1).all() or torch.isnan(scores).any():
        raise BadInput("model: its scores of the next token are not finite numbers; check the model's weights")
