"""Keeps a node learning: a failed round returns policy and state to the newest checkpoint."""

from __future__ import annotations

from collections.abc import Callable

from swarm.learner.ahead import learn_ahead
from swarm.learner.learner import Learner
from swarm.learner.loop import learn
from swarm.supervisor import supervise


async def keep_learning(learner: Learner, on_failure: Callable[[str, str], None]) -> None:
    """Do rounds until the node has finished; end with a checkpoint. Failures go to
    `on_failure(part, error)`."""
    failed_before = False

    async def rounds() -> None:
        nonlocal failed_before
        if failed_before:
            await learner.recover()
        failed_before = True
        await (learn_ahead if learner.context.config.training.max_versions_behind else learn)(learner)
        if not learner.guest.paused:  # a paused node has its checkpoint, and no policy in memory
            await learner.save()

    await supervise("learning", rounds, on_failure)
