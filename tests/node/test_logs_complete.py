"""Nothing is lost of the logs: what a node missed it asks for, whoever it was that kept it away."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import trio
from log_shapes import LogMedium, LogNode, complete
from swarm_shapes import NOW_MS
from trio.testing import MockClock

from swarm.clock import VirtualClock
from swarm.net.memory import Conditions, MemoryNetwork, Partition


def medium_of(path: Path, clock: MockClock, conditions: Conditions | None = None) -> LogMedium:
    return LogMedium(path, VirtualClock(clock, NOW_MS), MemoryNetwork(1, conditions))


async def publish_for(nodes: list[LogNode], seconds: int, every: float) -> None:
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        for node in nodes:
            assert await node.share()
            await trio.sleep(every / len(nodes))


async def test_a_node_that_joins_late_gets_every_log(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as one, medium.node(2) as two:
        await publish_for([one, two], 30, 3)
        async with medium.node(3) as late:
            assert await complete([one, two, late], 60)
            assert late.sync.statistics().fetched == 20
            assert late.admission.statistics().groups == 20, "of this epoch: trained on as well"
            assert await late.refused() == {}
            turns = late.sync.statistics().turns
            await trio.sleep(600)
            assert late.sync.statistics().fetched == 20
            assert 10 <= late.sync.statistics().turns - turns <= 40


async def test_two_halves_grow_together_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(medium.node(number)) for number in range(1, 33)]
        half = frozenset(node.identity.peer_id for node in nodes[:16])
        now = medium.network.now_s()
        medium.network.conditions = Conditions(partitions=(Partition(now + 40, now + 80, (half,)),))
        await publish_for(nodes, 120, 20)
        held = [len(keys) for keys in map(dict.keys, [await node.held() for node in nodes])]
        assert min(held) == 32
        assert await complete(nodes, 300)
        for node in nodes:
            assert all(sequences == list(range(6)) for sequences in (await node.held()).values())
            assert not set(await node.refused()) - {"duplicate"}
