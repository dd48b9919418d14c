"""Log-probabilities of chosen tokens without the whole table of logits.

With a vocabulary V of 150,000 the logits of 32,000 tokens are 20 GB as float32, and a softmax with
its backward pass holds several such tables, where the model itself is 1 GB. But only one number per
token is wanted. So the head is applied to a few tokens at a time, `SLICE` logits, and each slice is
freed: the forward pass keeps the hidden states and one normaliser per token, and the backward pass
makes every slice again. One more multiplication by the head saves all of that memory.

Where liger-kernel is installed and the device is a GPU, its fused kernel does the same with fewer
passes over each slice (experimental: not run on a GPU yet). Small tables, such as the embedded
model's, are made whole, which is fastest.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

# Logits at a time: 128 MiB of float32, of which a backward pass holds three.
SLICE = 1 << 25
# Models whose logits are their head times their last hidden states, and nothing else.
PLAIN_HEADS = frozenset({
    "gemma", "gemma3_text", "gpt2", "llama", "ministral", "mistral", "olmo2", "olmo3", "phi3", "qwen2", "qwen3", "smollm3",
    "stablelm", "starcoder2",
})  # fmt: skip
# The first release whose gradients of single tokens' losses are right.
LIGER = (0, 8, 5)


def plain_head(model: Any) -> nn.Linear | None:
    """Return the head of a Hugging Face causal model, or None if its logits are more than that
    head's output."""
    head = model.get_output_embeddings()
    if getattr(model.config, "final_logit_softcapping", None):
        return None
    return head if model.config.model_type in PLAIN_HEADS and type(head) is nn.Linear and head.bias is None else None


def worth_slicing(tokens: int, vocabulary: int) -> bool:
    """Whether the logits of `tokens` tokens are a table too large to be made whole."""
    return tokens * vocabulary > SLICE


def token_logprobs(hidden: Tensor, weight: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities (nats, float32) of `ids` [N] under softmax(hidden [N, H] · weightᵀ /
    temperature), weight [V, H]."""
    fused = _fused() if hidden.device.type == "cuda" else None
    if fused is not None:
        return -fused(weight, hidden if temperature == 1 else hidden / temperature, ids)  # type: ignore[no-any-return]
    return _Sliced.apply(hidden, weight, ids, temperature)  # type: ignore[no-any-return, no-untyped-call]


def full_logprobs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities (nats, float32) of `ids` [...] from whole logits [..., V]."""
    return (logits.float() / temperature).log_softmax(-1).gather(-1, ids[..., None])[..., 0]


class _Sliced(torch.autograd.Function):
    """`token_logprobs` in plain torch."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor, temperature: float) -> Tensor:
        size = max(1, SLICE // len(weight))
        chosen, normalisers = [], []
        for rows, tokens in zip(torch.split(hidden, size), torch.split(ids, size), strict=True):
            logits = _logits(rows, weight, temperature)  # [size, V]
            chosen.append(logits.gather(1, tokens[:, None])[:, 0])
            normalisers.append(logits.logsumexp(1))
            del logits
        normaliser = torch.cat(normalisers)  # [N]
        ctx.save_for_backward(hidden, weight, ids, normaliser)
        ctx.temperature, ctx.size = temperature, size
        return torch.cat(chosen) - normaliser

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, weight, ids, normaliser = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), ctx.size):
            part = slice(start, start + ctx.size)
            rows = hidden[part]
            slope = _logits(rows, weight, ctx.temperature).sub_(normaliser[part, None]).exp_()  # the probabilities
            scale = gradient[part, None] / ctx.temperature
            slope.mul_(-scale).scatter_add_(1, ids[part, None], scale)  # d loss / d logits before the temperature, [size, V]
            narrow = slope.to(weight.dtype)
            del slope
            if of_hidden is not None:
                torch.mm(narrow, weight, out=of_hidden[part])
            if of_weight is not None:
                of_weight.addmm_(narrow.t(), rows)
            del narrow
        return of_hidden, of_weight, None, None


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.t()).float()
    return logits if temperature == 1 else logits.div_(temperature)


@cache
def _fused() -> Any:
    """Return liger-kernel's fused head and cross-entropy, one loss per token; None where it is
    missing or too old."""
    try:
        version = metadata.version("liger-kernel")
    except metadata.PackageNotFoundError:
        return None
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < LIGER:
        return None
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    # Gradients of the head add up in float32, over hundreds of slices.
    return LigerFusedLinearCrossEntropyLoss(reduction="none", accum_dtype=torch.float32)
