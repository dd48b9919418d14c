"""How likely a policy is to say given texts: batched passes without sampling.

A pass has as many tokens at most as the memory allows, padding included, and texts of similar
length together: one long one would make all others as long.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from swarm.policy.fit.memory import SCORED_ROWS, Attempt, Memory
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
    sizes = [(len(prompt), len(ids)) for prompt, ids in zip(encoded, completions, strict=True)]
    while fit:
        part = _part(fit, sizes, memory.scored_tokens())
        with Attempt() as tried:
            totals = _scored(language_model, [encoded[n] for n in part], [completions[n] for n in part], temperature)
            for number, total in zip(part, totals, strict=True):
                result[number] = total
            done = set(part)
            fit = [n for n in fit if n not in done]
        if tried.ran_out:
            memory.fewer_scored(_tokens(part, sizes), len(part))
    memory.most_scored.passed()
    return result


def _part(numbers: Sequence[int], sizes: Sequence[tuple[int, int]], tokens: int) -> Sequence[int]:
    """Return all texts in their order where they fit one pass, else the longest that do, at least
    one."""
    if len(numbers) <= SCORED_ROWS and _tokens(numbers, sizes) <= tokens:
        return numbers
    longest_first = sorted(numbers, key=lambda n: (-sum(sizes[n]), n))
    count = 1
    while count < min(len(numbers), SCORED_ROWS) and _tokens(longest_first[: count + 1], sizes) <= tokens:
        count += 1
    return longest_first[:count]


def _tokens(numbers: Sequence[int], sizes: Sequence[tuple[int, int]]) -> int:
    """Return the tokens of a pass over these texts, padding included."""
    return len(numbers) * (max(sizes[n][0] for n in numbers) + max(sizes[n][1] for n in numbers))


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
