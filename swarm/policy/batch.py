"""From groups to tensors: which completions are trained on, with what weight in the loss, in which micro-batches.

The weight of every token is settled here, over the whole batch, so that adding up the gradients of any split into
micro-batches gives the gradient of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.config.schema import TrainingSection
from swarm.errors import PolicyError
from swarm.policy.advantage import group_advantages
from swarm.policy.model import LanguageModel
from swarm.policy.packing import Packing, pack
from swarm.records import TrainingGroup


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """B completions of R prompts, padded on the right to T tokens."""

    prompts: list[list[int]]  # R prompts, as token ids
    owners: Tensor  # [B] which prompt each completion continues
    ids: Tensor  # [B, T]
    mask: Tensor  # [B, T] 1 for tokens, 0 for padding
    advantages: Tensor  # [B, 1] advantage times the completion's weight
    scale: Tensor  # [B, T] each token's share of the loss, 0 on padding
    least: Tensor  # [B, 1] log-probability below which a token is not trained on
    groups: list[int]  # [B] which group each completion is of
    packing: Packing | None  # the same completions in the packed layout, where that pays


@dataclass(frozen=True, slots=True)
class Batch:
    """What one update trains on."""

    micro_batches: list[MicroBatch]
    groups: int
    completions: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Row:
    prompt: int
    ids: list[int]
    advantage: float
    share: float


def make_batch(language_model: LanguageModel, groups: Sequence[TrainingGroup], settings: TrainingSection) -> Batch:
    """Encode, weigh and split.

    Left out altogether: completions of weight 0, without tokens (the vocabulary may lack a peer's), or too long for the model.
    Counted in the averages but not forwarded, since they add nothing: those of advantage 0 (with beta > 0 they add KL).
    `mask_truncated_completions` works as in TRL: their tokens count nowhere, the completions do in "grpo"'s mean.
    """
    prompts = language_model.encode_prompts([group.prompt for group in groups])
    candidates: list[tuple[int, list[int], float, bool]] = []  # prompt, ids, advantage, masked
    for number, (group, completions) in enumerate(zip(groups, _token_ids(language_model, groups), strict=True)):
        room = language_model.max_length - len(prompts[number])
        advantages = group_advantages(group.rewards, settings.scale_rewards)
        for ids, advantage, weight, completion in zip(completions, advantages, group.weights, group.completions, strict=True):
            if weight != 0 and 0 < len(ids) <= room:
                masked = settings.mask_truncated_completions and not completion.finished
                candidates.append((number, ids, advantage * weight, masked))
    counted = sum(len(ids) for _, ids, _, masked in candidates if not masked)
    rows = [
        _Row(number, ids, advantage, _token_share(settings.loss_type, len(ids), counted, len(candidates)))
        for number, ids, advantage, masked in candidates
        if not masked and (advantage != 0 or settings.beta > 0)
    ]
    # Prompts of similar length together, so that little is spent on padding; the order is a function of the input alone.
    rows.sort(key=lambda row: (len(prompts[row.prompt]), row.prompt))
    parts = _split(rows, prompts, settings.micro_batch_tokens)
    least = [math.log(group.min_probability) if group.min_probability > 0 else -math.inf for group in groups]
    micro_batches = [_tensors(part, prompts, least, language_model) for part in parts]
    return Batch(micro_batches, len(groups), len(rows), sum(len(row.ids) for row in rows))


def _token_ids(language_model: LanguageModel, groups: Sequence[TrainingGroup]) -> list[list[list[int]]]:
    """Per group, the tokens of its completions: as sampled for own groups, re-encoded from the text for foreign ones."""
    foreign = [completion for group in groups if group.token_ids is None for completion in group.completions]
    encoded = iter(language_model.encode_completions([c.text for c in foreign], [c.finished for c in foreign]))
    return [
        [next(encoded) for _ in group.completions] if group.token_ids is None else [list(ids) for ids in group.token_ids]
        for group in groups
    ]


def _token_share(loss_type: str, length: int, tokens: int, completions: int) -> float:
    if loss_type == "dapo":
        return 1.0 / tokens
    if loss_type == "grpo":
        return 1.0 / (length * completions)
    raise PolicyError(f"training.loss_type = {loss_type!r} is unknown; use dapo or grpo")


def _split(rows: Sequence[_Row], prompts: Sequence[Sequence[int]], budget: int) -> list[list[_Row]]:
    """Consecutive rows whose padded tokens, each prompt counted once, stay within `budget`; a single row may exceed it."""
    parts: list[list[_Row]] = []
    owners: set[int] = set()
    width = longest = 0
    for row in rows:
        longest = max(longest, len(prompts[row.prompt]))
        width = max(width, len(row.ids))
        owners.add(row.prompt)
        if not parts or len(owners) * longest + (len(parts[-1]) + 1) * width > budget:
            parts.append([])
            owners, longest, width = {row.prompt}, len(prompts[row.prompt]), len(row.ids)
        parts[-1].append(row)
    return parts


def _tensors(
    rows: Sequence[_Row], prompts: Sequence[list[int]], least: Sequence[float], language_model: LanguageModel
) -> MicroBatch:
    numbers = list(dict.fromkeys(row.prompt for row in rows))
    place = {number: position for position, number in enumerate(numbers)}
    width = max(len(row.ids) for row in rows)
    device = language_model.device
    owners = [place[row.prompt] for row in rows]
    some_prompts = [prompts[number] for number in numbers]
    lengths = torch.tensor([len(row.ids) for row in rows], device=device)
    mask = (torch.arange(width, device=device) < lengths[:, None]).long()
    return MicroBatch(
        prompts=some_prompts,
        owners=torch.tensor(owners, device=device),
        ids=torch.tensor([row.ids + [language_model.pad_id] * (width - len(row.ids)) for row in rows], device=device),
        mask=mask,
        advantages=torch.tensor([[row.advantage] for row in rows], device=device),
        scale=mask * torch.tensor([[row.share] for row in rows], device=device),
        least=torch.tensor([[least[row.prompt]] for row in rows], device=device),
        groups=[row.prompt for row in rows],
        packing=pack(language_model, some_prompts, owners, [row.ids for row in rows]),
    )
