"""How likely a policy is to say given texts: one batched pass without sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swarm.policy.fit.memory import Attempt, Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.model.prefix import completion_logprobs
from swarm.records import Prompt


@torch.no_grad()
def log_likelihoods(
    language_model: LanguageModel,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    temperature: float,
    memory: Memory | None = None,
) -> list[float]:
    """Return the log-probability (nats) of each text as the answer to its prompt, sampled at
    `temperature`.

    The end of sequence is included. Minus infinity for a text that the model cannot say: its
    vocabulary lacks a character, or the text is too long. Where memory runs out, fewer texts are
    taken at once; raises `PolicyError` when one is too many.
    """
    encoded = language_model.encode_prompts(prompts)
    completions = language_model.encode_completions(prompts, texts, [True] * len(texts))
    result = [float("-inf")] * len(texts)
    fit = [n for n, ids in enumerate(completions) if 0 < len(ids) <= language_model.max_length - len(encoded[n])]
    memory = memory or Memory(language_model, 0.0)
    while fit:
        part = fit[: memory.most_scored]
        with Attempt() as tried:
            totals = _scored(language_model, [encoded[n] for n in part], [completions[n] for n in part], temperature)
            for number, total in zip(part, totals, strict=True):
                result[number] = total
            fit = fit[len(part) :]
        if tried.ran_out:
            memory.fewer_scored(len(part))
    return result


def _scored(
    language_model: LanguageModel, prompts: Sequence[list[int]], completions: Sequence[list[int]], temperature: float
) -> list[float]:
    """Return the log-probabilities of token ids, in one pass."""
    device, width = language_model.device, max(map(len, completions))
    lengths = torch.tensor([len(ids) for ids in completions], device=device)
    mask = (torch.arange(width, device=device) < lengths[:, None]).long()
    rows = [ids + [language_model.pad_id] * (width - len(ids)) for ids in completions]
    owners, ids = torch.arange(len(prompts), device=device), torch.tensor(rows, device=device)
    totals: list[float] = completion_logprobs(language_model, prompts, owners, ids, mask, temperature).sum(1).tolist()
    return totals
