"""The same rounds, begun before the ones before have ended (`training.max_versions_behind`).

In strict order the device stands still while a round's answers are verified and shared, a batch is drawn and a checkpoint is
looked at. Here two tasks work at once: one proposes and generates, the other verifies, shares, draws, trains and finishes, round
after round in the same order. Both ask the same policy and take turns at it (turns.py):

    device    generate 1 | train 0 | generate 2 | train 1 | generate 3 …
    beside                 verify, share, draw 1            verify, share, draw 2 …

So that no answers come from a policy of long ago, a round is generated only when at most `max_versions_behind` of the rounds
before it have not been trained on yet; its questions are chosen and built meanwhile. What is trained on is then as old as that.
The update takes it as it takes foreign text, with the ratio of the policy to itself (policy/update.py): the answers count as
examples with an advantage, not as the policy's own distribution. Each group carries the tag of the weights that it came from.

Nothing is dropped when the node stops or has to give way: no round is begun any more, and those begun are finished. Only after
going back to a checkpoint they are dropped: they belong to a policy that is no more, and were neither shared nor trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING

import trio

from swarm.node.guest import goes_on
from swarm.node.loop import Proposal, generate, learn_from, propose
from swarm.records import SolvedGroup

if TYPE_CHECKING:
    from swarm.node.node import Node

Generated = tuple[Proposal, Sequence[SolvedGroup]]


async def learn_ahead(node: Node) -> None:
    """Rounds until the node is told to stop, or has done as many as it was asked for."""
    while await goes_on(node):
        await _rounds_in_a_row(node)


async def _rounds_in_a_row(node: Node) -> None:
    """Until the node ends, must give way, or went back to a checkpoint; no round is under way then."""
    behind = node.config.training.max_versions_behind
    ready, generated = trio.open_memory_channel[Generated](behind + 1)
    room = trio.Semaphore(behind + 1)  # for rounds that are generated and not trained on yet, the one in generation included
    went_back = trio.Event()

    def over(round: int) -> bool:
        return went_back.is_set() or node.ends_before(round) or node.guest.reason() is not None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_generate_rounds, node, over, room, ready)
        async for proposal, solved in generated:
            learned = await learn_from(node, proposal, solved)
            room.release()
            await node.finish_round(learned.own, learned.batch, learned.report)
            if node.round <= proposal.round:
                went_back.set()
                room.release()
                return


async def _generate_rounds(
    node: Node, over: Callable[[int], bool], room: trio.Semaphore, ready: trio.MemorySendChannel[Generated]
) -> None:
    async with ready:
        for round in count(node.round):
            if over(round):
                return
            proposal = await propose(node, round)
            await room.acquire()
            if over(round):
                return  # its indices are accounted for in the next share
            ready.send_nowait((proposal, await generate(node, proposal)))
