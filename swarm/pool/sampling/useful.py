"""Groups by what they can teach this node.

Three differences from the paper's uniform draw, measured together in docs/lab-log.md:

1. Own groups that are all right or all wrong teach nothing, so their places go to foreign groups.
2. Foreign groups are drawn with a probability that grows with the spread of their rewards, p(1 - p), with what this node
   still fails at in their environment, and with their freshness.
3. Of a foreign group only the answers that are better than its average are trained on. Text that this policy would not
   write has tiny probabilities here; pushing it further down (a negative advantage) moves the weights a long way for
   nothing, while imitating a right answer is worth the step. Nor is the best answer of a bad group worth imitating: where
   this node has ever been right, half right is not good enough. An advantage that is divided by the group's spread is the
   same for both, so a group of mistakes that a lenient verifier rewards in part would be as good a teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from swarm.pool.candidates import Candidate
from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.records import ScoredGroup

# Even where a node's pass rate is 1 a little is drawn, so that a skill is not forgotten unseen.
LEAST_NEED = 0.1


def choose_own(own: Sequence[ScoredGroup], local: int, random: Random) -> list[ScoredGroup]:
    """The informative ones; the places of the others go to foreign groups."""
    return [group for group in own if group.informative][:local]


def usefulness(candidate: Candidate, skill: Skill) -> float:
    """Spread of the rewards, times what this node still fails at, times freshness; 0 where no answer is good enough."""
    if candidate.reward_best < skill.best.get(candidate.environment, 0.0):
        return 0.0
    spread = candidate.reward_mean * (1 - candidate.reward_mean)
    need = max(LEAST_NEED, 1 - skill.pass_rates.get(candidate.environment, 0.0))
    # By this node's own clock: a signer may say of its policy what it likes.
    freshness = 1 / (1 + max(skill.now_ms - candidate.received_ms, 0) / skill.round_ms)
    return max(spread, 1e-3) * need * freshness


def foreign_weights(group: ScoredGroup, skill: Skill) -> tuple[float, ...]:
    """One for the answers above the group's mean and no worse than the best this node ever gave, zero for the others."""
    least = skill.best.get(group.task.recipe.environment, 0.0)
    return tuple(float(reward > group.reward_mean and reward >= least) for reward in group.rewards)


USEFUL = Sampler(choose_own, True, usefulness, foreign_weights)
