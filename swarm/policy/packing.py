"""The packed layout, for training on short completions: a prompt and all its completions in one row.

    [prompt][completion 1][completion 2] ... [padding]

The mask lets a completion see its prompt and itself, but not its siblings, and each one's positions go on from the prompt's;
so every token gets exactly what it would get alone. One forward pass does what prefix.py does in two, and completions of
unlike length cost no padding: on the embedded model a training step takes half the time. The price is attention over the
whole row, which grows with the square of its length, so long rows are left to prefix.py; so are models whose attention this
mask does not describe (sliding windows, position biases), by allowing only families known to be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swarm.policy.model import LanguageModel

MAX_ROW_TOKENS = 512
FAMILIES = frozenset({"gpt2", "llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True, slots=True)
class Packing:
    """B completions of R prompts in R rows of W tokens. N is the number of completion tokens."""

    ids: Tensor  # [R, W]
    positions: Tensor  # [R, W]
    sees: Tensor  # [R, 1, W, W] whether a token (third dimension) sees another (fourth)
    predictors: Tensor  # [N] place in the flattened rows of the token before each completion token, completion by completion


def pack(
    language_model: LanguageModel, prompts: Sequence[Sequence[int]], owners: Sequence[int], rows: Sequence[Sequence[int]]
) -> Packing | None:
    """Pack completions `rows`, each continuing prompt `owners[i]`; None where the layout is not allowed or saves nothing."""
    # The last token of a completion is never an input: its log-probability comes from the token before it.
    widths = [len(prompt) for prompt in prompts]
    for owner, row in zip(owners, rows, strict=True):
        widths[owner] += len(row) - 1
    width = max(widths)
    unpacked = len(prompts) * max(map(len, prompts)) + len(rows) * (max(map(len, rows)) - 1)
    if width > MAX_ROW_TOKENS or len(prompts) * width > unpacked or not _allowed(language_model):
        return None
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
    """Like `prefix.completion_logprobs`: log-probability of every token of the completions `ids` [B, T], zero on padding."""
    logits = language_model.logits(packing.ids, packing.sees, packing.positions, None)  # [R, W, V]
    logits = logits.flatten(0, 1)[packing.predictors].float()  # [N, V]
    filled = mask.bool()
    logprobs = (logits / temperature).log_softmax(-1).gather(1, ids[filled][:, None])[:, 0]  # [N]
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(filled, logprobs)


def _allowed(language_model: LanguageModel) -> bool:
    return language_model.full_attention and language_model.model.config.model_type in FAMILIES
