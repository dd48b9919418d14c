"""Turns groups into tensors: which completions are trained on, with what weight in the loss, in
which micro-batches.

Every token gets its weight here, over the whole batch. So the gradients of any split into
micro-batches add up to the gradient of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.config.schema import TrainingSection
from swarm.errors import PolicyError
from swarm.policy.fit.memory import PASS_TOKENS
from swarm.policy.model.model import LanguageModel
from swarm.policy.update.advantage import group_advantages
from swarm.policy.update.layout import Packing, pack, repeats_prompts
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
    packing: Packing | None  # the same completions in a layout without a cache, where that pays

    @property
    def tokens(self) -> int:
        """The size that the budget limits: tokens with padding as the layout holds them."""
        if self.packing is not None:
            return self.packing.ids.numel()
        return len(self.prompts) * max(map(len, self.prompts)) + self.ids.numel()


@dataclass(frozen=True, slots=True)
class Batch:
    """The training data of one update; `completions` and `tokens` count equal answers of a group
    once. `unread` counts per group the tokens of completions that are left out altogether."""

    micro_batches: list[MicroBatch]
    unread: tuple[int, ...]
    completions: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Row:
    prompt: int
    ids: list[int]
    advantage: float
    share: float


def make_batch(
    language_model: LanguageModel, groups: Sequence[TrainingGroup], settings: TrainingSection, tokens: int = PASS_TOKENS
) -> Batch:
    """Encode, weigh and split groups into micro-batches of at most `tokens`.

    Left out altogether: completions of weight 0, without tokens (the vocabulary may lack a peer's),
    too long for the model, or longer than the swarm allows. A peer's word is not taken for its
    length, and its text is not cut: a part of an answer is another answer.

    Counted in the averages but not forwarded, since they add nothing: those of advantage 0 (with
    beta > 0 they add KL). `mask_truncated_completions` works as in TRL: their tokens count nowhere,
    the completions do in "grpo"'s mean.
    """
    prompts = language_model.encode_prompts([group.prompt for group in groups])
    candidates: list[tuple[int, list[int], float, bool]] = []  # prompt, ids, advantage, masked
    unread = [0] * len(groups)
    for number, (group, completions) in enumerate(zip(groups, _token_ids(language_model, groups), strict=True)):
        room = min(language_model.max_length - len(prompts[number]), group.max_tokens or math.inf)
        advantages = group_advantages(group.rewards, settings.scale_rewards)
        for ids, advantage, weight, completion in zip(completions, advantages, group.weights, group.completions, strict=True):
            if weight != 0 and not 0 < len(ids) <= room:
                unread[number] += max(len(ids), 1)
            elif weight != 0:
                masked = settings.mask_truncated_completions and not completion.finished
                candidates.append((number, ids, advantage * weight, masked))
    counted = sum(len(ids) for _, ids, _, masked in candidates if not masked)
    # Equal answers have equal gradients, and good answers are often equal: each is forwarded once,
    # with the shares of all.
    shares: dict[tuple[int, tuple[int, ...], float], float] = {}
    for number, ids, advantage, masked in candidates:
        if not masked and (advantage != 0 or settings.beta > 0):
            same = number, tuple(ids), advantage
            share = _token_share(settings.loss_type, len(ids), counted, len(candidates))
            shares[same] = shares.get(same, 0.0) + share
    rows = [_Row(number, list(ids), advantage, share) for (number, ids, advantage), share in shares.items()]
    # Prompts of similar length together, so that little is spent on padding; the order is a
    # function of the input alone.
    rows.sort(key=lambda row: (len(prompts[row.prompt]), row.prompt))
    parts = _split(rows, prompts, tokens, repeats_prompts(language_model))
    least = [math.log(group.min_probability) if group.min_probability > 0 else -math.inf for group in groups]
    micro_batches = [_tensors(part, prompts, least, language_model) for part in parts]
    return Batch(micro_batches, tuple(unread), len(rows), sum(len(row.ids) for row in rows))


def _token_ids(language_model: LanguageModel, groups: Sequence[TrainingGroup]) -> list[list[list[int]]]:
    """Return per group the tokens of its completions: as sampled for own groups, encoded behind
    the prompt for foreign ones; an empty list for those of weight 0."""
    foreign = [
        (group.prompt, completion)
        for group in groups
        if group.token_ids is None
        for completion, weight in zip(group.completions, group.weights, strict=True)
        if weight
    ]
    prompts, texts, finished = [p for p, _ in foreign], [c.text for _, c in foreign], [c.finished for _, c in foreign]
    encoded = iter(language_model.encode_completions(prompts, texts, finished))
    return [
        [next(encoded) if weight else [] for weight in group.weights]
        if group.token_ids is None
        else [list(ids) for ids in group.token_ids]
        for group in groups
    ]


def _token_share(loss_type: str, length: int, tokens: int, completions: int) -> float:
    if loss_type == "dapo":
        return 1.0 / tokens
    if loss_type == "grpo":
        return 1.0 / (length * completions)
    raise PolicyError(f"training.loss_type = {loss_type!r} is unknown; use dapo or grpo")


def _split(rows: Sequence[_Row], prompts: Sequence[Sequence[int]], budget: int, repeated: bool) -> list[list[_Row]]:
    """Split rows in order so that a part's padded tokens stay within `budget`; a single row may
    exceed it.

    Each prompt counts once, unless prompts are `repeated`.
    """
    parts: list[list[_Row]] = []
    owners: set[int] = set()
    width = longest = 0
    for row in rows:
        longest = max(longest, len(prompts[row.prompt]))
        width = max(width, len(row.ids))
        owners.add(row.prompt)
        count = len(parts[-1]) + 1 if parts else 1
        if not parts or (count if repeated else len(owners)) * longest + count * width > budget:
            parts.append([])
            owners, longest, width = {row.prompt}, len(prompts[row.prompt]), len(row.ids)
        parts[-1].append(row)
    return parts


def halves(language_model: LanguageModel, micro: MicroBatch) -> list[tuple[slice, MicroBatch]]:
    """Split a micro-batch in two; return each half with its slice of rows.

    One row stays one part.
    """
    count = len(micro.ids)
    middle = (count + 1) // 2
    parts = [slice(0, middle)] if count == 1 else [slice(0, middle), slice(middle, count)]
    return [(rows, _part(language_model, micro, rows)) for rows in parts]


def _part(language_model: LanguageModel, micro: MicroBatch, rows: slice) -> MicroBatch:
    lengths = micro.mask[rows].sum(1)
    width = int(lengths.max())
    numbers = list(dict.fromkeys(micro.owners[rows].tolist()))
    owners = [numbers.index(number) for number in micro.owners[rows].tolist()]
    prompts = [micro.prompts[number] for number in numbers]
    ids = micro.ids[rows, :width]
    lines = [line[:length] for line, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
    return MicroBatch(
        prompts=prompts,
        owners=torch.tensor(owners, device=ids.device),
        ids=ids,
        mask=micro.mask[rows, :width],
        advantages=micro.advantages[rows],
        scale=micro.scale[rows, :width],
        least=micro.least[rows],
        groups=micro.groups[rows],
        packing=pack(language_model, prompts, owners, lines),
    )


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
