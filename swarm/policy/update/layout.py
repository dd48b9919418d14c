"""Two layouts without a cache.

The packed one, for short completions, puts a prompt and all its completions in one row:

    [prompt][completion 1][completion 2] ... [padding]

The mask lets a completion see its prompt and itself but not its siblings, and its positions go on
from the prompt's. So every token gets exactly what it would get alone. One forward pass does what
prefix.py does in two, and completions of unlike length cost no padding: on the embedded model a
training step takes half the time. The price is attention over the whole row, which grows with the
square of its length, so long rows are left to prefix.py. So are models whose attention this mask
does not describe (sliding windows, position biases): only families known to be right are packed.

The plain one has a row per completion, its prompt repeated:

    [prompt][completion][padding]

Every token sees all before it, which needs no mask. So a GPU's attention kernels never make a table
of scores, which saves more than repeated prompts cost. And layers can be recomputed in the backward
pass (gradient checkpointing), which a cache would not survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.policy.fit.memory import checkpoints_layers
from swarm.policy.model.logprobs import full_logprobs, plain_head, token_logprobs, worth_slicing
from swarm.policy.model.model import LanguageModel

MAX_ROW_TOKENS = 512
FAMILIES = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True, slots=True)
class Packing:
    """B completions of R prompts in R rows of W tokens (B rows in the plain layout).

    N is the number of completion tokens.
    """

    ids: Tensor  # [R, W]
    positions: Tensor  # [R, W]
    sees: Tensor | None  # [R, 1, W, W] whether a token (third dimension) sees another (fourth); None: all before it
    predictors: Tensor  # [N] place in the flattened rows of the token before each completion token, completion by completion


def pack(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], rows: Sequence[Sequence[int]]
) -> Packing | None:
    """Lay out completions `rows`, each continuing prompt `owners[i]`; None where prefix.py's layout
    is better."""
    # The last token of a completion is never an input: its log-probability comes from the token
    # before it.
    widths = [len(prompt) for prompt in prompts]
    for owner, row in zip(owners, rows, strict=True):
        widths[owner] += len(row) - 1
    width = max(widths)
    unpacked = len(prompts) * max(map(len, prompts)) + len(rows) * (max(map(len, rows)) - 1)
    if width > MAX_ROW_TOKENS or len(prompts) * width > unpacked or not takes_any_mask(language_model):
        return _rows(language_model, prompts, owners, rows) if repeats_prompts(language_model) else None
    ids = [list(prompt) for prompt in prompts]
    positions = [list(range(len(prompt))) for prompt in prompts]
    segments = [[0] * len(prompt) for prompt in prompts]  # 0 the prompt, -1 padding, else the completion's number
    predictors: list[int] = []
    for number, (owner, row) in enumerate(zip(owners, rows, strict=True), start=1):
        length, start, inputs = len(prompts[owner]), len(ids[owner]), len(row) - 1
        predictors += [owner * width + length - 1, *range(owner * width + start, owner * width + start + inputs)]
        ids[owner] += row[:inputs]
        positions[owner] += range(length, length + inputs)
        segments[owner] += [number] * inputs

    def tensor(table: list[list[int]], filler: int) -> Tensor:
        return torch.tensor([line + [filler] * (width - len(line)) for line in table], device=language_model.device)

    segment = tensor(segments, -1)
    place = torch.arange(width, device=language_model.device)
    related = (segment[:, :, None] == segment[:, None, :]) | (segment[:, None, :] == 0)
    sees = related & (place[:, None] >= place)  # padding sees padding, so that no row of the softmax is empty
    where = torch.tensor(predictors, device=language_model.device)
    return Packing(tensor(ids, language_model.pad_id), tensor(positions, 0), sees[:, None], where)


def packed_logprobs(language_model: LanguageModel, packing: Packing, ids: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Return the log-probability (nats) of every token of `ids` [B, T], zero on padding, like
    `prefix.completion_logprobs`."""
    filled = mask.bool()
    head = plain_head(language_model.model)
    if head is not None and worth_slicing(packing.ids.numel(), len(head.weight)):
        hidden = language_model.hidden(packing.ids, packing.sees, packing.positions, None)  # [R, W, H]
        hidden = hidden.flatten(0, 1)[packing.predictors]  # [N, H]
        logprobs = token_logprobs(hidden, head.weight, ids[filled], temperature)  # [N]
    else:
        logits = language_model.logits(packing.ids, packing.sees, packing.positions, None)  # [R, W, V]
        logprobs = full_logprobs(logits.flatten(0, 1)[packing.predictors], ids[filled], temperature)
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(filled, logprobs)


def takes_any_mask(language_model: LanguageModel) -> bool:
    """Whether the model's attention depends on masks and positions alone."""
    return language_model.full_attention and language_model.model.config.model_type in FAMILIES


def repeats_prompts(language_model: LanguageModel) -> bool:
    """Whether long completions get the plain layout, which repeats their prompt."""
    return language_model.device.type == "cuda" or checkpoints_layers(language_model)


def _rows(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], rows: Sequence[Sequence[int]]
) -> Packing:
    device = language_model.device
    lines = [[*prompts[owner], *row[:-1]] for owner, row in zip(owners, rows, strict=True)]
    width = max(map(len, lines))
    predictors = [
        number * width + len(line) - len(row) + place
        for number, (line, row) in enumerate(zip(lines, rows, strict=True))
        for place in range(len(row))
    ]
    ids = torch.tensor([line + [language_model.pad_id] * (width - len(line)) for line in lines], device=device)
    positions = torch.arange(width, device=device).expand(len(lines), width)
    return Packing(ids, positions, None, torch.tensor(predictors, device=device))
