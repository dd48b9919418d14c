"""Swarm sampling (SAPO, arXiv 2509.08721, Algorithm 1): one node's rounds. Nothing here waits for a peer, unless its owner asks
for fresh groups (`sampling.freshness`)."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from swarm.node.guest import goes_on
from swarm.roles.evaluator import evaluate
from swarm.roles.selection import select
from swarm.roles.solver import solve

if TYPE_CHECKING:
    from swarm.node.node import Node


async def learn(node: Node) -> None:
    """Rounds until the node is told to stop, or has done as many as it was asked for.

    The steps of the algorithm: (1) sample questions, (2) generate G answers to each with the own policy, (3) reward them with
    the own verifier, (4) share some as decoded text, (5) draw I own and J foreign groups, (6) one policy update.
    """
    while await goes_on(node):
        random = Random(f"{node.seed}/{node.round}")
        with node.activity.doing("proposing"):
            places = await node.proposer.propose(node.tasks_per_round, node.config.tasks.choices, random)
            tasks = await select(node.policy, places, node.rendering, node.examples)
        with node.activity.doing("generating"):
            solved = await solve(
                node.policy,
                tasks,
                node.rendering,
                node.config.generation,
                node.max_tokens,
                random.getrandbits(63),
                node.examples,
            )
        with node.activity.doing("scoring"):
            own = await evaluate(node.scorer, solved, node.identity.public_key, node.clock.now_ms())
        node.proposer.curriculum.observe(own)
        with node.activity.doing("sharing"):
            await node.share(own)
        await node.freshness.wait()
        with node.activity.doing("sampling"):
            batch = await node.sample(own, random)
        with node.activity.doing("training"):
            report = await node.policy.train(batch.groups) if batch.groups else None
        await node.finish_round(own, batch, report)
