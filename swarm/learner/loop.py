"""Swarm sampling (SAPO, arXiv 2509.08721, Algorithm 1): one node's rounds.

Nothing here waits for a peer, unless the owner asks for fresh groups (`sampling.wait_s`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from swarm.config.schema import Config
from swarm.learner.giving_way import goes_on
from swarm.learner.learner import Learner
from swarm.learner.round_batch import RoundBatch
from swarm.pool.indices import Reached
from swarm.records import ScoredGroup, SolvedGroup, Task, TrainReport
from swarm.roles.evaluator import evaluate
from swarm.roles.selection import select
from swarm.roles.solver import solve


@dataclass(frozen=True, slots=True)
class Proposal:
    """A round's questions, with alternatives for each place, and the point in the indices after
    them."""

    round: int
    random: Random
    places: Sequence[Sequence[Task]]
    reached: Reached


@dataclass(frozen=True, slots=True)
class Learned:
    """The result of a round."""

    own: Sequence[ScoredGroup]
    batch: RoundBatch
    report: TrainReport | None


async def learn(learner: Learner) -> None:
    """Do rounds until the node is told to stop, or has done `node.rounds`.

    The steps of the algorithm: (1) sample questions, (2) generate G answers to each with the own
    policy, (3) reward them with the own verifier, (4) share some as decoded text, (5) draw I own
    and J foreign groups, (6) make one policy update.
    """
    while await goes_on(learner):
        proposal = await propose(learner, learner.round)
        solved = await generate(learner, proposal)
        learned = await learn_from(learner, proposal, solved)
        await learner.finish_round(learned.own, learned.batch, learned.report)


async def propose(learner: Learner, round: int) -> Proposal:
    """Do step 1."""
    tasks, proposer = learner.context.config.tasks, learner.roles.proposer
    random = Random(f"{learner.context.seed}/{round}")
    with learner.activity.doing("proposing"):
        places = await proposer.propose(tasks_per_round(learner.context.config), tasks.choices, random)
    return Proposal(round, random, places, proposer.reached)


def tasks_per_round(config: Config) -> int:
    """Return the number of tasks proposed and solved in one round."""
    return config.tasks.per_round or config.training.local


async def generate(learner: Learner, proposal: Proposal) -> list[SolvedGroup]:
    """Do step 2, for the questions that are likely to teach something."""
    policy, view, settings = learner.policy, learner.roles.view, learner.context.config.generation
    async with learner.turns.generating:
        with learner.activity.doing("proposing"):
            selection = await select(policy, proposal.places, view)
            learner.pass_over(selection.passed_over)
        with learner.activity.doing("generating"):
            return await solve(policy, selection.tasks, view, settings, proposal.random.getrandbits(63))


async def learn_from(learner: Learner, proposal: Proposal, solved: Sequence[SolvedGroup]) -> Learned:
    """Do steps 3 to 6."""
    context, roles = learner.context, learner.roles
    with learner.activity.doing("scoring"):
        own = await evaluate(roles.scorer, solved, context.key, context.now_ms())
    roles.proposer.curriculum.observe(own)
    with learner.activity.doing("sharing"):
        learner.totals["groups_shared"] += await learner.company.share(learner.round, own, proposal.reached)
    await learner.freshness.wait()
    with learner.activity.doing("sampling"):
        batch = await learner.sampling.draw(own, learner.round, proposal.random)
    async with learner.turns.training:
        with learner.activity.doing("training"):
            report = await learner.policy.train(batch.groups) if batch.groups else None
    return Learned(own, batch, report)
