"""The shared prompt: each distinct prompt is forwarded once, and all its completions use its cached
keys and values.

Layout of a row, in generation and in training alike:

    [padding][prompt][completion][padding]

Prompts are padded on the left and completions on the right, so nothing stands between a prompt and
its completion. Padding is masked, and positions count from the prompt's first token. So a
sequence's numbers do not depend on its neighbours. In training the cache keeps its graph: the
gradient of all completions flows back into the one prompt pass. Where the logits of all tokens
would be too large a table, logprobs.py applies the head to the hidden states instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swarm.policy.model.logprobs import full_logprobs, plain_head, token_logprobs, worth_slicing
from swarm.policy.model.model import LanguageModel


@dataclass(slots=True)
class Prefix:
    """Forwarded prompts, one per row, ready to be continued."""

    cache: Any  # keys and values of R rows, P positions
    mask: Tensor | None  # [R, P] 1 for prompt tokens, 0 for padding; None when all prompts are equally long
    lengths: Tensor  # [R] tokens of each prompt, which is also the position of its completion's first token
    last: Tensor  # [R, V] logits of the completion's first token, or [R, H] hidden states before the head
    width: int  # P

    def fan_out(self, owners: Tensor) -> None:
        """Make one row per completion: row i continues prompt `owners[i]`."""
        self.cache.batch_select_indices(owners)
        self.mask = None if self.mask is None else self.mask[owners]
        self.lengths = self.lengths[owners]
        self.last = self.last[owners]


def prefill(language_model: LanguageModel, prompts: Sequence[Sequence[int]], *, head: bool = True) -> Prefix:
    """Forward each prompt (a non-empty list of token ids) once, in one batch: to the logits, or
    without `head` to the hidden states."""
    device = language_model.device
    counts = [len(prompt) for prompt in prompts]
    width = max(counts)
    pad = language_model.pad_id
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)  # [R, P]
    lengths = torch.tensor(counts, device=device)
    places = torch.arange(width, device=device) - (width - lengths)[:, None]  # [R, P], negative on padding
    mask = None if min(counts) == width else (places >= 0).long()
    cache = language_model.new_cache()
    positions = places.clamp(min=0)
    if head:
        last = language_model.logits(ids, mask, positions, cache, last_only=True)
    else:
        last = language_model.hidden(ids, mask, positions, cache)
    return Prefix(cache, mask, lengths, last[:, -1], width)


def completion_logprobs(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], owners: Tensor, ids: Tensor, mask: Tensor, temperature: float
) -> Tensor:
    """Return the log-probability (nats, at `temperature`) of every completion token, [B, T]; zero
    on padding.

    `owners` [B] says which prompt each row continues; `ids` and `mask` are [B, T], padded on the
    right.
    """
    head = plain_head(language_model.model)
    sliced = head is not None and worth_slicing(ids.numel(), len(head.weight))
    prefix = prefill(language_model, prompts, head=not sliced)
    prefix.fan_out(owners)
    outputs = prefix.last[:, None]  # [B, 1, V], or hidden states [B, 1, H]
    if ids.shape[1] > 1:
        prompt_mask = mask.new_ones(len(owners), prefix.width) if prefix.mask is None else prefix.mask
        positions = prefix.lengths[:, None] + torch.arange(ids.shape[1] - 1, device=ids.device)
        seen = torch.cat([prompt_mask, mask[:, :-1]], dim=1)
        # The last token is never an input: its own log-probability comes from the position before
        # it.
        forward = language_model.hidden if sliced else language_model.logits
        rest = forward(ids[:, :-1], seen, positions, prefix.cache)  # [B, T-1, V or H]
        outputs = torch.cat([outputs, rest], dim=1)
    if head is None or not sliced:
        return full_logprobs(outputs, ids, temperature) * mask  # [B, T]
    filled = mask.bool()
    logprobs = token_logprobs(outputs[filled], head.weight, ids[filled], temperature)  # [N]
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(filled, logprobs)
