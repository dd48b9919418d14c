"""The pause between two rounds, while somebody else wants the machine (guest.py)."""

from __future__ import annotations

import logging

import trio

from swarm.learner.guest import Pause, said
from swarm.learner.learner import Learner
from swarm.policy import checkpoint

logger = logging.getLogger(__name__)


async def goes_on(learner: Learner) -> bool:
    """Return whether another round follows; wait while the node has to give way."""
    while not learner.finished and (pause := learner.guest.reason()) is not None:
        await _give_way(learner, pause)
    return not learner.finished


async def _give_way(learner: Learner, pause: Pause) -> None:
    guest, activity, begun = learner.guest, learner.activity, trio.current_time()
    await learner.save()
    await learner.policy.release()
    guest.began()
    learner.checkpointed()
    logger.info("paused: %s", said(pause))
    with activity.doing("paused", said(pause)):
        while (now := guest.reason()) is not None and not learner.stopping:
            activity.state = f"paused: {said(now)}"
            await guest.wait(now)
    if learner.stopping:
        return  # all that was learned is in the checkpoint
    guest.ended(trio.current_time() - begun)
    with activity.doing("loading the policy"):
        newest = await learner.newest_checkpoint()
        if newest is not None and checkpoint.meta(newest)["digest"] == learner.policy.tag.digest.hex():
            await learner.policy.resume(newest)
        else:
            # The disk lost the checkpoint just written: policy and node go back together.
            await learner.recover()
    activity.begin_round()
    logger.info("resumed")
