"""Worth: the part of a signer's groups that can be learned from, over many groups; a single one
says little.

An honest answer now and then has a token that this policy finds implausible
(swarm/policy/update/plausibility.py), or is only half right, and is left out of training. A signer
whose groups are mostly left out speaks another language, or smuggles something in: drawing them
wastes the places of others. So they are drawn in proportion to their expected worth, but never
excluded: a policy changes, and strange text may become plain.

A signer may also turn. So only its last groups count, about as many as a few rounds draw, however
much it has taught before.

Little is expected of a signer of whom nothing was drawn yet (Laplace's rule with a low prior).
Names cost nothing, and a liar with a new name would otherwise begin as highly as those who have
taught much. Where all are strangers the prior makes no difference, since only proportions count.
"""

from __future__ import annotations

# As if two groups had been drawn before, and a quarter of them learned from.
PRIOR_DRAWN, PRIOR_LEARNED = 2.0, 0.5
LEAST_WEIGHT = 0.05
# About as many groups of a signer are remembered: one that has turned is found out within rounds.
LATELY_DRAWN = 12.0


def worth_weight(drawn: float, learned: float) -> float:
    """Return the expected part of a signer's group that is learned from.

    `drawn` counts its drawn groups, `learned` the sum of their parts that were learned from.
    """
    return min(max((learned + PRIOR_LEARNED) / (drawn + PRIOR_DRAWN), LEAST_WEIGHT), 1.0)
