"""Sampling completions: all completions of all prompts in one batched run on one key-value cache.

`Engine` is the whole interface of the room; choose.py picks one for a policy. `CacheEngine` suits
small models and every kind of attention.

It forwards each prompt once and hands its cache to the G completions (see prefix.py). A row that
has ended leaves the batch at once, so the tail of a round, a few long answers, is cheap. The
log-probability of a token is that of the very distribution it was drawn from, the softmax at the
sampling temperature; the end of sequence is a token like any other: sampled, kept and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from swarm.errors import PolicyError
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Attempt, Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.model.prefix import Prefix, prefill


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion as tokens; `logprob` is their sum (nats).

    Both include what ended it: the end of sequence, or the tokens of a stop string.
    """

    token_ids: list[int]
    finished: bool
    logprob: float


class Engine(Protocol):
    """Samples completions, with the exact log-probability of each."""

    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """Sample `num_generations` completions for each prompt; the same seed gives the same ones.

        Temperature 0 is greedy.
        """

    def release(self) -> None:
        """Free the memory that only sampling needs."""


def check_room(language_model: LanguageModel, prompts: Sequence[Sequence[int]], max_tokens: int) -> int:
    """Return the tokens of the longest prompt with its completion.

    Raises `PolicyError` when the model has fewer positions.
    """
    longest = max(map(len, prompts))
    if longest + max_tokens > language_model.max_length:
        raise PolicyError(
            f"a prompt of {longest} tokens and {max_tokens} more do not fit the model's {language_model.max_length} positions; "
            "lower generation.max_completion_length or leave out environments with long prompts"
        )
    return longest + max_tokens


class CacheEngine:
    """An `Engine` for any Hugging Face causal model, on a growing key-value cache."""

    def __init__(self, language_model: LanguageModel, ends: Ends | None = None, memory: Memory | None = None) -> None:
        self._lm = language_model
        self._ends = ends or Ends(language_model.stop_ids, (), lambda ids: language_model.decode([ids])[0])
        self._memory = memory or Memory(language_model, 0.0)
        vocabulary = language_model.model.get_input_embeddings().num_embeddings
        self._stops = torch.zeros(vocabulary, dtype=torch.bool, device=language_model.device)
        self._stops[list(language_model.stop_ids)] = True

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], *, num_generations: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[Sampled]]:
        """See `Engine`.

        Raises `PolicyError` when a prompt leaves no room for `max_tokens`, or a weight is not
        finite.
        """
        if not prompts:
            return []
        check_room(self._lm, prompts, max_tokens)
        generator = torch.Generator(self._lm.device).manual_seed(seed)
        groups: list[list[Sampled]] = []
        while len(groups) < len(prompts):
            part, slots = self._part(prompts[len(groups) :], num_generations, max_tokens)
            with Attempt() as tried:
                groups += self._groups(part, num_generations, min(slots, num_generations), max_tokens, temperature, generator)
            if tried.ran_out:
                self._memory.fewer_slots(slots)
        self._memory.most_slots.passed()
        return groups

    def _part(
        self, prompts: Sequence[Sequence[int]], num_generations: int, max_tokens: int
    ) -> tuple[Sequence[Sequence[int]], int]:
        """Return the first prompts whose groups fit into the memory at once, and their rows.

        Groups stay whole; one that alone is too many rows is sampled a few rows at a time. A long
        prompt makes rows longer only in its own part.
        """
        longest, count = len(prompts[0]), 1
        slots = min(self._memory.slots(longest + max_tokens), num_generations)
        for prompt in prompts[1:]:
            longest = max(longest, len(prompt))
            rows = (count + 1) * num_generations
            if rows > self._memory.slots(longest + max_tokens):
                break
            count, slots = count + 1, rows
        return prompts[:count], slots

    def release(self) -> None:
        """Nothing is kept between two calls."""

    def _groups(
        self,
        prompts: Sequence[Sequence[int]],
        num_generations: int,
        at_once: int,
        max_tokens: int,
        temperature: float,
        generator: torch.Generator,
    ) -> list[list[Sampled]]:
        """Sample the groups of some prompts, `at_once` completions of each in one run."""
        groups: list[list[Sampled]] = [[] for _ in prompts]
        for start in range(0, num_generations, at_once):
            count = min(at_once, num_generations - start)
            owners = torch.arange(len(prompts), device=self._lm.device).repeat_interleave(count)
            prefix = prefill(self._lm, prompts)
            prefix.fan_out(owners)
            rows = self._continue(prefix, max_tokens, temperature, generator)
            for place, group in enumerate(groups):
                group += rows[place * count : (place + 1) * count]
        return groups

    def _continue(self, prefix: Prefix, max_tokens: int, temperature: float, generator: torch.Generator) -> list[Sampled]:
        """Sample every row of `prefix` (N of them) to its end or to `max_tokens`.

        R counts the rows that have not ended.
        """
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
            if self._ends.has_texts:
                ended |= self._said(tokens[rows, : step + 1])
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

    def _said(self, ids: torch.Tensor) -> torch.Tensor:
        """Which of the rows [R, step + 1] complete a stop string with their last token."""
        step = ids.shape[1] - 1
        return torch.tensor([self._ends.length(row, step) is not None for row in ids.tolist()], device=ids.device)


def _draw(distribution: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """Draw one token per row, [R, 1], from log-probabilities [R, V]."""
    if not distribution.isfinite().any(-1).all():
        raise PolicyError("the policy's weights give no finite probabilities; go back to an earlier checkpoint")
    if temperature == 0:
        return distribution.argmax(-1, keepdim=True)
    return torch.multinomial(distribution.exp(), 1, generator=generator)
