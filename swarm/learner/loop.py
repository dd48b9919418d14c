"""Swarm sampling (SAPO, arXiv 2509.08721, Algorithm 1): one node's rounds. Nothing here waits for a peer, unless its owner asks
for fresh groups (`sampling.freshness`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from swarm.learner.guest import goes_on
from swarm.learner.round_batch import RoundBatch
from swarm.records import ScoredGroup, SolvedGroup, Task, TrainReport
from swarm.roles.evaluator import evaluate
from swarm.roles.proposer import Reached
from swarm.roles.selection import select
from swarm.roles.solver import solve

if TYPE_CHECKING:
    from swarm.node.node import Node


@dataclass(frozen=True, slots=True)
class Proposal:
    """A round's questions: alternatives for each place, and how far the own indices have been used with them."""

    round: int
    random: Random
    places: Sequence[Sequence[Task]]
    reached: Reached


@dataclass(frozen=True, slots=True)
class Learned:
    """What a round came to."""

    own: Sequence[ScoredGroup]
    batch: RoundBatch
    report: TrainReport | None


async def learn(node: Node) -> None:
    """Rounds until the node is told to stop, or has done as many as it was asked for.

    The steps of the algorithm: (1) sample questions, (2) generate G answers to each with the own policy, (3) reward them with
    the own verifier, (4) share some as decoded text, (5) draw I own and J foreign groups, (6) one policy update.
    """
    while await goes_on(node):
        proposal = await propose(node, node.round)
        solved = await generate(node, proposal)
        learned = await learn_from(node, proposal, solved)
        await node.finish_round(learned.own, learned.batch, learned.report)


async def propose(node: Node, round: int) -> Proposal:
    """Step 1."""
    random = Random(f"{node.seed}/{round}")
    with node.activity.doing("proposing"):
        places = await node.proposer.propose(node.tasks_per_round, node.config.tasks.choices, random)
    return Proposal(round, random, places, node.proposer.reached)


async def generate(node: Node, proposal: Proposal) -> list[SolvedGroup]:
    """Step 2, of those questions whose answers are likely to teach something."""
    async with node.turns.generating:
        with node.activity.doing("proposing"):
            tasks = await select(node.policy, proposal.places, node.rendering, node.examples)
        with node.activity.doing("generating"):
            return await solve(
                node.policy,
                tasks,
                node.rendering,
                node.config.generation,
                node.max_tokens,
                proposal.random.getrandbits(63),
                node.examples,
            )


async def learn_from(node: Node, proposal: Proposal, solved: Sequence[SolvedGroup]) -> Learned:
    """Steps 3 to 6."""
    with node.activity.doing("scoring"):
        own = await evaluate(node.scorer, solved, node.identity.public_key, node.clock.now_ms())
    node.proposer.curriculum.observe(own)
    with node.activity.doing("sharing"):
        await node.share(own, proposal.reached)
    await node.freshness.wait()
    with node.activity.doing("sampling"):
        batch = await node.sample(own, proposal.random)
    async with node.turns.training:
        with node.activity.doing("training"):
            report = await node.policy.train(batch.groups) if batch.groups else None
    return Learned(own, batch, report)
