"""How likely a policy is to say given texts: one batched pass, nothing is generated."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swarm.policy.model import LanguageModel
from swarm.policy.prefix import completion_logprobs

# Rows at once; each holds its logits, so this bounds memory.
ROWS = 64


@torch.no_grad()
def log_likelihoods(
    language_model: LanguageModel, prompts: Sequence[str], texts: Sequence[str], temperature: float
) -> list[float]:
    """Log-probability (nats, end of sequence included) of each text as the answer to its prompt when sampled at `temperature`.

    Minus infinity for a text that this model cannot say: its vocabulary lacks a character, or it is too long.
    """
    encoded = language_model.encode_prompts(prompts)
    completions = language_model.encode_completions(texts, [True] * len(texts))
    result = [float("-inf")] * len(texts)
    fit = [n for n, ids in enumerate(completions) if 0 < len(ids) <= language_model.max_length - len(encoded[n])]
    for start in range(0, len(fit), ROWS):
        part = fit[start : start + ROWS]
        width = max(len(completions[number]) for number in part)
        lengths = torch.tensor([len(completions[number]) for number in part], device=language_model.device)
        mask = (torch.arange(width, device=language_model.device) < lengths[:, None]).long()
        padding = [language_model.pad_id]
        ids = [completions[number] + padding * (width - len(completions[number])) for number in part]
        logprobs = completion_logprobs(
            language_model,
            [encoded[number] for number in part],
            torch.arange(len(part), device=language_model.device),
            torch.tensor(ids, device=language_model.device),
            mask,
            temperature,
        )
        for number, total in zip(part, logprobs.sum(1).tolist(), strict=True):
            result[number] = total
    return result
