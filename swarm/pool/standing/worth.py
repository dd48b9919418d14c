"""How much of what a signer sends can be learned from: a comparison over many groups, where one says little.

An honest answer now and then has a token that this policy would hardly say (swarm/policy/update/plausibility.py), or is only half
right, and is left out of training. A signer of whose groups most is left out speaks another language, or smuggles something
in: drawing its groups wastes the places of others. So they are drawn in proportion to what is to be expected of them, but
never not at all: a policy changes, and what was strange to it may become plain.

Of a signer of whom nothing was drawn yet little is expected (Laplace's rule with a low prior): names cost nothing, and a liar
who changes his would otherwise begin each time as well thought of as those who have taught much. Where all are strangers that
makes no difference, since only the proportions count.
"""

from __future__ import annotations

# As if of two groups before the first a quarter had been learned from.
PRIOR_DRAWN, PRIOR_LEARNED = 2.0, 0.5
LEAST_WEIGHT = 0.05


def worth_weight(drawn: float, learned: float) -> float:
    """The expected part of a signer's group that is learned from, given how many were drawn and how much of them was."""
    return min(max((learned + PRIOR_LEARNED) / (drawn + PRIOR_DRAWN), LEAST_WEIGHT), 1.0)
