"""How much of what a signer sends can be learned from: a comparison over many groups, where one says little.

An honest answer now and then has a token that this policy would hardly say (swarm/policy/plausibility.py), or is only half
right, and is left out of training. A signer of whose groups most is left out speaks another language, or smuggles something
in: drawing its groups wastes the places of others. So they are drawn less, in proportion to what is learned from them,
but never not at all: a policy changes, and what was strange to it may become plain.
"""

from __future__ import annotations

# Groups before the proportion says anything.
ENOUGH = 3.0
LEAST_WEIGHT = 0.05


def worth_weight(drawn: float, learned: float) -> float:
    """1 for a signer whose groups are learned from as they are, less in proportion to what was left out of them."""
    if drawn < ENOUGH:
        return 1.0
    return min(max(learned / drawn, LEAST_WEIGHT), 1.0)
