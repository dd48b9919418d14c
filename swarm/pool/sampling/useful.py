"""Groups by what they can teach this node.

Three differences from the paper's uniform draw, measured together and one by one (docs/lab-log.md,
benchmarks/ablations.py):

1. Own groups that are all right or all wrong teach nothing, so their places go to foreign groups.
2. Foreign groups are drawn with a probability that grows with the spread of their rewards, p(1 -
   p), with what this node still fails at in their environment, and with their freshness.
3. Of a foreign group only the answers that are better than its average are trained on. Text that
   this policy would not write has tiny probabilities here; pushing it further down (a negative
   advantage) moves the weights a long way for nothing, while imitating a right answer is worth the
   step. Nor is the best answer of a bad group worth imitating: where this node has ever been right,
   half right is not good enough. An advantage that is divided by the group's spread is the same for
   both, so a group of mistakes that a lenient verifier rewards in part would be as good a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.pool.store.candidates import Candidate
from swarm.records import ScoredGroup

# Even where a node's pass rate is 1 a little is drawn, so that a skill is not forgotten unseen.
LEAST_NEED = 0.1

Factor = Callable[[Candidate, Skill], float]


def choose_own(own: Sequence[ScoredGroup], local: int, random: Random) -> list[ScoredGroup]:
    """The informative ones; the places of the others go to foreign groups."""
    return [group for group in own if group.informative][:local]


def spread(candidate: Candidate, skill: Skill) -> float:
    """Of its rewards: nearest to a half right has the most to say."""
    return max(candidate.reward_mean * (1 - candidate.reward_mean), 1e-3)


def need(candidate: Candidate, skill: Skill) -> float:
    """What this node still fails at in the group's environment."""
    return max(LEAST_NEED, 1 - skill.pass_rates.get(candidate.environment, 0.0))


def freshness(candidate: Candidate, skill: Skill) -> float:
    """By this node's own clock: a signer may say of its policy what it likes."""
    return 1 / (1 + max(skill.now_ms - candidate.received_ms, 0) / skill.round_ms)


def usefulness(candidate: Candidate, skill: Skill) -> float:
    """The product of the three; 0 where no answer is good enough."""
    if candidate.reward_best < skill.best.get(candidate.environment, 0.0):
        return 0.0
    return spread(candidate, skill) * need(candidate, skill) * freshness(candidate, skill)


def foreign_weights(group: ScoredGroup, skill: Skill) -> tuple[float, ...]:
    """1 for answers above the group's mean and at least as good as this node's best, else 0."""
    least = skill.best.get(group.task.recipe.environment, 0.0)
    return tuple(float(reward > group.reward_mean and reward >= least) for reward in group.rewards)


SAMPLER = Sampler(choose_own, True, usefulness, foreign_weights)
