"""Chooses the tokens of a foreign answer to train on: none that the own policy would hardly say.

A right answer does not make its text harmless: the advantage is one number per completion, so every
token of a rewarded completion is reinforced, an injected phrase too ("Hail to the Thief", arXiv
2511.09780). What an honest policy adds to this one's knowledge is likely here already, only not
likely enough; what nobody would say is a token of tiny probability.

- A token below the least probability is never trained on. So the policy never learns to begin a
  phrase that such a token opens.
- An answer with more such tokens than chance explains is left out whole. Training on the part
  before the first of them would teach the beginning, which need not be right: "a likely mistake,
  taken back, then the answer" is a right answer whose likely beginning is a mistake.

The log-probabilities are the old ones of the update's first pass, computed anyway. So the screen
costs no forward pass, needs no second model, and knows what this node's policy has learned
meanwhile.
"""

from __future__ import annotations

from torch import Tensor

# Of long texts of another honest policy about one token in a hundred is unlikely here; of short
# answers hardly any is.
TOLERATED = 0.02


def plausible(logprobs: Tensor, mask: Tensor, least: Tensor) -> Tensor:
    """Return 1.0 for the tokens to train on, else 0.0, [B, T].

    `logprobs` (nats) and the padding `mask` are [B, T], `least` is [B, 1].
    """
    unlikely = (logprobs < least) & mask.bool()
    few = unlikely.sum(1, keepdim=True) <= TOLERATED * mask.sum(1, keepdim=True)
    return mask * few * ~unlikely
