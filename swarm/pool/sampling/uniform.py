"""The paper's sampler (arXiv 2509.08721, section 4).

Drops foreign groups without an advantage and draws the rest uniformly.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.pool.store.candidates import Candidate
from swarm.records import ScoredGroup


def choose_own(own: Sequence[ScoredGroup], local: int, random: Random) -> list[ScoredGroup]:
    """Any of them, uniformly without replacement."""
    return random.sample(list(own), min(local, len(own)))


def usefulness(candidate: Candidate, skill: Skill) -> float:
    """All the same."""
    return 1.0


def foreign_weights(group: ScoredGroup, skill: Skill) -> tuple[float, ...]:
    """Every completion counts in full."""
    return (1.0,) * len(group.rewards)


SAMPLER = Sampler(choose_own, False, usefulness, foreign_weights)
