"""Groups by what they can teach this node.

Three differences from the paper's uniform draw, measured together in docs/lab-log.md:

1. Own groups that are all right or all wrong teach nothing, so their places go to foreign groups.
2. Foreign groups are drawn with a probability that grows with the spread of their rewards, p(1 - p), with what this node
   still fails at in their environment, and with their freshness.
3. Of a foreign group only the answers that are better than its average are trained on. Text that this policy would not
   write has tiny probabilities here; pushing it further down (a negative advantage) moves the weights a long way for
   nothing, while imitating a right answer is worth the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

from swarm.pool.sampling.drawing import Budget, Drawn, Sampler
from swarm.pool.store import Candidate
from swarm.records import ScoredGroup

# Even where a node's pass rate is 1 a little is drawn, so that a skill is not forgotten unseen.
LEAST_NEED = 0.1


def draw(
    own: Sequence[ScoredGroup],
    candidates: Sequence[Candidate],
    budget: Budget,
    pass_rates: Mapping[str, float],
    random: Random,
) -> Drawn:
    """Informative own groups up to I, then foreign ones up to I + J in all."""
    chosen = [group for group in own if group.informative][: budget.local]
    places = budget.external + budget.local - len(chosen) if budget.external else 0
    ranked = sorted(candidates, key=lambda each: _chance(each, pass_rates, random), reverse=True)
    return Drawn(tuple(chosen), tuple(each.key for each in ranked[:places]))


def _chance(candidate: Candidate, pass_rates: Mapping[str, float], random: Random) -> float:
    """A key whose order is a draw without replacement, weighted by usefulness (Efraimidis & Spirakis 2006)."""
    spread = candidate.reward_mean * (1 - candidate.reward_mean)
    need = max(LEAST_NEED, 1 - pass_rates.get(candidate.environment, 0.0))
    freshness = 1 / (1 + candidate.policy_age)
    usefulness = max(spread, 1e-3) * need * freshness
    return math.log(1 - random.random()) / usefulness


def foreign_weights(group: ScoredGroup) -> tuple[float, ...]:
    """One for the answers above the group's mean reward, zero for the others."""
    return tuple(float(reward > group.reward_mean) for reward in group.rewards)


USEFUL = Sampler(draw, foreign_weights)
