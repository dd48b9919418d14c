"""The paper's controlled experiment (arXiv 2509.08721, section 4): it draws single rollouts.

A round trains on I rollouts of this node's own groups and J foreign ones, each set drawn uniformly;
foreign rollouts without an advantage are left out first. An advantage is still that inside the
whole group. So `training.local` and `training.external` count completions here, and a round of one
question (`tasks.per_round = 1`) has its G own ones to choose among.
"""

from __future__ import annotations

from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.pool.sampling.uniform import choose_own, usefulness
from swarm.records import ScoredGroup


def foreign_weights(group: ScoredGroup, skill: Skill) -> tuple[float, ...]:
    """One for the completions that have an advantage."""
    return tuple(float(reward != group.reward_mean) for reward in group.rewards)


# As rounds in step would: each group in one round only, and J whatever it costs.
SAMPLER = Sampler(choose_own, False, usefulness, foreign_weights, by_rollout=True, max_uses=1, foreign_time=0.0)
