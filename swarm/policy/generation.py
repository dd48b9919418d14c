"""Sampling completions: all completions of all prompts in one batched run on one key-value cache.

`Engine` is the whole interface; anything that can sample with exact log-probabilities can stand in for `CacheEngine`.

`CacheEngine` forwards each prompt once and hands its cache to the G completions (see prefix.py). A row that has ended leaves
the batch at once, so the tail of a round, a few long answers, is cheap. The log-probability of a token is that of the very
distribution it was drawn from, the softmax at the sampling temperature; the end of sequence is a token like any other:
sampled, kept and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from swarm.errors import PolicyError
from swarm.policy.model import LanguageModel
from swarm.policy.prefix import Prefix, prefill

# Rows sampled at once; more only add memory, since by then the machine's arithmetic is busy.
MAX_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion as tokens; `logprob` is the sum over them (nats), end of sequence included in both."""

    token_ids: list[int]
    finished: bool
    logprob: float


class Engine(Protocol):
    """What samples completions."""

    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """`num_generations` completions for every prompt, the same for the same seed; temperature 0 takes the likeliest token."""


class CacheEngine:
    """The engine for any Hugging Face causal model."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._lm = language_model
        vocabulary = language_model.model.get_input_embeddings().num_embeddings
        self._stops = torch.zeros(vocabulary, dtype=torch.bool, device=language_model.device)
        self._stops[list(language_model.stop_ids)] = True

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """See `Engine`. Raises `PolicyError` when a prompt leaves no room for `max_tokens`, or the weights are not finite."""
        if not prompts:
            return []
        longest = max(map(len, prompts))
        if longest + max_tokens > self._lm.max_length:
            raise PolicyError(
                f"a prompt of {longest} tokens and {max_tokens} more do not fit the model's {self._lm.max_length} positions; "
                "lower generation.max_completion_length or leave out environments with long prompts"
            )
        generator = torch.Generator(self._lm.device).manual_seed(seed)
        at_once = max(1, MAX_ROWS // num_generations)
        groups: list[list[Sampled]] = []
        for start in range(0, len(prompts), at_once):
            part = prompts[start : start + at_once]
            owners = torch.arange(len(part), device=self._lm.device).repeat_interleave(num_generations)
            prefix = prefill(self._lm, part)
            prefix.fan_out(owners)
            rows = self._continue(prefix, max_tokens, temperature, generator)
            groups += [rows[i : i + num_generations] for i in range(0, len(rows), num_generations)]
        return groups

    def _continue(self, prefix: Prefix, max_tokens: int, temperature: float, generator: torch.Generator) -> list[Sampled]:
        """Sample every row of `prefix` (N of them) to its end or to `max_tokens`. R counts the rows that have not ended."""
        count = len(prefix.lengths)
        device = self._lm.device
        tokens = torch.zeros(count, max_tokens, dtype=torch.long, device=device)
        logprobs = torch.zeros(count, max_tokens, device=device)
        lengths = torch.full((count,), max_tokens, device=device)
        finished = torch.zeros(count, dtype=torch.bool, device=device)

        rows = torch.arange(count, device=device)  # [R] where each live row belongs
        cache, positions, logits = prefix.cache, prefix.lengths[:, None], prefix.last  # positions [R, 1], logits [R, V]
        mask = prefix.mask
        if mask is not None:
            mask = torch.cat(
                [mask, mask.new_ones(count, max_tokens)], dim=1
            )  # [R, P + max_tokens], a prefix of it used at a time
        for step in range(max_tokens):
            distribution = (logits.float() / (temperature or 1.0)).log_softmax(-1)  # [R, V]
            token = _draw(distribution, temperature, generator)  # [R, 1]
            tokens[rows, step] = token[:, 0]
            logprobs[rows, step] = distribution.gather(1, token)[:, 0]
            ended = self._stops[token[:, 0]]
            if ended.any():
                finished[rows[ended]] = True
                lengths[rows[ended]] = step + 1
                live = (~ended).nonzero()[:, 0]
                if len(live) == 0:
                    break
                rows, token, positions = rows[live], token[live], positions[live]
                mask = None if mask is None else mask[live]
                cache.batch_select_indices(live)
            if step + 1 < max_tokens:
                seen = None if mask is None else mask[:, : prefix.width + step + 1]
                logits = self._lm.logits(token, seen, positions, cache, last_only=True)[:, 0]
                positions = positions + 1
        sums = logprobs.cpu().double().sum(1).tolist()
        table = zip(tokens.tolist(), lengths.tolist(), finished.tolist(), sums, strict=True)
        return [Sampled(ids[:length], end, total) for ids, length, end, total in table]


def _draw(distribution: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """One token per row, [R, 1], from log-probabilities [R, V]."""
    if not distribution.isfinite().any(-1).all():
        raise PolicyError("the policy's weights give no finite probabilities; go back to an earlier checkpoint")
    if temperature == 0:
        return distribution.argmax(-1, keepdim=True)
    return torch.multinomial(distribution.exp(), 1, generator=generator)
