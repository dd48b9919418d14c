"""Keeps a node learning: after any failure of a round policy and state go back to the newest checkpoint together."""

from __future__ import annotations

from collections.abc import Callable

from swarm.learner.ahead import learn_ahead
from swarm.learner.learner import Learner
from swarm.learner.loop import learn
from swarm.supervisor import supervise


async def keep_learning(learner: Learner, on_failure: Callable[[str, str], None]) -> None:
    """Do rounds until the node has finished; end with a checkpoint. A failure is told to `on_failure(part, error)`."""
    failed_before = False

    async def rounds() -> None:
        nonlocal failed_before
        if failed_before:
            await learner.recover()
        failed_before = True
        await (learn_ahead if learner.context.config.training.max_versions_behind else learn)(learner)
        if not learner.guest.paused:  # then everything is in a checkpoint, and no policy there to write one
            await learner.save()

    await supervise("learning", rounds, on_failure)
