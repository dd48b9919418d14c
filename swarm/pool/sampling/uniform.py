"""The paper's sampler (arXiv 2509.08721, section 4): zero-advantage foreign groups are dropped, the rest drawn uniformly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from swarm.pool.sampling.drawing import Budget, Drawn, Sampler
from swarm.pool.store import Candidate
from swarm.records import ScoredGroup


def draw(
    own: Sequence[ScoredGroup],
    candidates: Sequence[Candidate],
    budget: Budget,
    pass_rates: Mapping[str, float],
    random: Random,
) -> Drawn:
    """I own and J foreign groups, each uniformly without replacement; fewer where there are fewer."""
    chosen = random.sample(list(own), min(budget.local, len(own)))
    foreign = random.sample([each.key for each in candidates], min(budget.external, len(candidates)))
    return Drawn(tuple(chosen), tuple(foreign))


def foreign_weights(group: ScoredGroup) -> tuple[float, ...]:
    """Every completion counts in full."""
    return (1.0,) * len(group.rewards)


UNIFORM = Sampler(draw, foreign_weights)
