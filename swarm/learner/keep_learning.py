"""Keeps a node learning: after any failure of a round the policy and the node go back to the newest checkpoint together."""

from __future__ import annotations

from swarm.learner.ahead import learn_ahead
from swarm.learner.loop import learn
from swarm.node.node import Node
from swarm.supervisor import supervise


async def keep_learning(node: Node) -> None:
    """Rounds until the node has finished; ends with a checkpoint."""
    failed_before = False

    async def rounds() -> None:
        nonlocal failed_before
        if failed_before:
            await node.recover_policy()
        failed_before = True
        await (learn_ahead if node.config.training.max_versions_behind else learn)(node)
        if not node.guest.paused:  # then everything is in a checkpoint, and no policy there to write one
            await node.save()

    await supervise("learning", rounds, node.part_failed)
