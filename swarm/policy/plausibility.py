"""What of a foreign completion is trained on: its beginning, up to the first token that the own policy would hardly say.

A right answer does not make its text harmless: the advantage is one number per completion, so every token of a rewarded
completion is reinforced, an injected phrase too ("Hail to the Thief", arXiv 2511.09780). What an honest policy adds to this
one's knowledge is likely here already, only not likely enough; what nobody would say is a token of tiny probability, and
after it the rest of an injected phrase may look ordinary, since it follows from its own beginning. So the text is cut at the
first such token instead of masking that token alone, and what came before it still counts.

The mask comes from the log-probabilities that the update computes anyway (the old ones of its first pass): it costs no
forward pass, needs no second model, and knows what this node's policy has learned meanwhile.
"""

from __future__ import annotations

import torch
from torch import Tensor


def plausible_prefix(logprobs: Tensor, least: Tensor) -> Tensor:
    """1.0 for tokens before the first one below `least`, else 0.0: [B, T] from log-probabilities [B, T] (nats) and [B, 1]."""
    return (logprobs >= least).to(torch.float32).cumprod(dim=1)
