"""The same rounds, begun before earlier ones have ended (`training.max_versions_behind`).

In strict order the device stands still while a round's questions are built, its answers verified
and shared, and a batch drawn. Here three tasks work at once, each on one round after the other: one
proposes, one generates, and one verifies, shares, draws, trains and finishes. The last two use the
same policy and take turns at it (device_turns.py):

    device    generate 1 | train 0 | generate 2 | train 1 | generate 3 …
    beside    propose 2              propose 3               propose 4 …
              verify, share, draw 0  verify, share, draw 1   verify, share, draw 2 …

A round is generated only while at most `max_versions_behind` of the rounds before it are untrained.
So its answers are at most that many updates old, and each group carries the tag of its weights. The
update treats them as foreign text, with the policy's ratio to itself (policy/update/update.py):
examples with an advantage, not samples of the policy's own distribution.

When the node stops or gives way, it begins no round and finishes those begun. Only a return to a
checkpoint drops rounds: they belong to a policy that is gone, and were neither shared nor trained
on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import trio

from swarm.learner.giving_way import goes_on
from swarm.learner.learner import Learner
from swarm.learner.loop import Proposal, generate, learn_from, propose
from swarm.records import SolvedGroup

Generated = tuple[Proposal, Sequence[SolvedGroup]]
Over = Callable[[int], bool]


async def learn_ahead(learner: Learner) -> None:
    """Do rounds until the node is told to stop, or has done `node.rounds`."""
    while await goes_on(learner):
        await _rounds_in_a_row(learner)


async def _rounds_in_a_row(learner: Learner) -> None:
    """Do rounds until the node ends, gives way or has gone back to a checkpoint; leave none under
    way."""
    behind = learner.context.config.training.max_versions_behind
    ask, asked = trio.open_memory_channel[Proposal](0)
    answer, answered = trio.open_memory_channel[Generated](behind + 1)
    room = trio.Semaphore(behind + 1)  # for rounds in generation, or generated and untrained
    ended = trio.Event()

    def over(round: int) -> bool:
        if learner.guest.reason() is not None:
            ended.set()  # for good, though the reason may be gone the next time
        return ended.is_set() or learner.ends_before(round)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_propose_rounds, learner, over, ask)
        nursery.start_soon(_generate_rounds, learner, over, asked, room, answer)
        async for proposal, solved in answered:
            learned = await learn_from(learner, proposal, solved)
            room.release()
            await learner.finish_round(learned.own, learned.batch, learned.report)
            if learner.round <= proposal.round:
                ended.set()
                room.release()
                return


async def _propose_rounds(learner: Learner, over: Over, ask: trio.MemorySendChannel[Proposal]) -> None:
    async with ask:
        for round in count(learner.round):
            if over(round):
                return
            await ask.send(await propose(learner, round))


async def _generate_rounds(
    learner: Learner,
    over: Over,
    asked: trio.MemoryReceiveChannel[Proposal],
    room: trio.Semaphore,
    answer: trio.MemorySendChannel[Generated],
) -> None:
    async with answer:
        # Unanswered proposals cost nothing: the next share accounts for their indices.
        async for proposal in asked:
            if not over(proposal.round):
                await room.acquire()
                if not over(proposal.round):
                    answer.send_nowait((proposal, await generate(learner, proposal)))
