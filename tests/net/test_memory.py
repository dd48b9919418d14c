"""The in-memory network on virtual time: reproducible, and with the weather it was asked for."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack

import pytest
import trio
from net_shapes import Heard, seed
from trio.testing import MockClock

from swarm.clock import VirtualClock
from swarm.errors import NetworkError
from swarm.net.network import Network, NetworkStatistics
from swarm.net.simulated import OVERHEAD_BYTES, Conditions, MemoryNetwork, Partition

Trace = list[tuple[float, int, bytes, str]]


async def _open(stack: AsyncExitStack, medium: MemoryNetwork, count: int, mock: MockClock) -> list[Network]:
    clock = VirtualClock(mock, 1_700_000_000_000)
    ears = [Heard() for _ in range(count)]
    return [
        await stack.enter_async_context(heard.at(medium.join(seed(index), heard.subscription, clock=clock)))
        for index, heard in enumerate(ears)
    ]


def _run(network_seed: int, conditions: Conditions, *, order: int = 0) -> tuple[Trace, list[NetworkStatistics]]:
    """Twelve nodes publish, ask and leave; who received what from whom, when."""
    trace: Trace = []

    async def node_life(index: int, nodes: list[Network]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, index, nodes[index])
            for number in range(5):
                await nodes[index].publish(b"%d/%d" % (index, number) * 50)
                await trio.sleep(0.3)
            answer = await nodes[index].request(nodes[(index + 1) % 12].peer_id, "/test/size", bytes(100), 10_000)
            trace.append((trio.current_time(), index, answer[:4], "answer"))
            await trio.sleep(20)
            nursery.cancel_scope.cancel()

    async def _listen(index: int, node: Network) -> None:
        async for message in node.messages:
            trace.append((trio.current_time(), index, message.data[:4], message.peer))

    async def size(peer: str, request: bytes) -> bytes:
        return request * 50

    async def main(mock: MockClock) -> list[NetworkStatistics]:
        async with AsyncExitStack() as stack:
            nodes = await _open(stack, MemoryNetwork(network_seed, conditions), 12, mock)
            for node in nodes:
                node.serve("/test/size", size)
            indices = list(range(12))
            # Tasks start in another order each time: it must not matter.
            random.Random(order).shuffle(indices)
            async with trio.open_nursery() as nursery:
                for index in indices:
                    nursery.start_soon(node_life, index, nodes)
            return [node.statistics() for node in nodes]

    mock = MockClock()
    return trace, trio.run(main, mock, clock=mock)


HARSH = Conditions(latency_s=(0.02, 0.2), loss=0.2, bandwidth_bytes_per_s=200_000)


def test_a_seed_fixes_every_delivery() -> None:
    first = _run(7, HARSH, order=1)
    assert len(first[0]) > 12 * 11 * 5 * 0.95
    for order in (2, 3):
        assert _run(7, HARSH, order=order) == first
    assert _run(8, HARSH)[0] != first[0]


def test_no_two_deliveries_are_tied() -> None:
    trace, _ = _run(7, HARSH)
    times = [time for time, _, _, kind in trace if kind != "answer"]
    assert len(set(times)) == len(times)


def test_without_loss_every_copy_arrives_once() -> None:
    _, statistics = _run(1, Conditions())
    for node in statistics:
        assert (node.messages_received, node.duplicates) == (55, 0)
    # A copy per receiver, and a request and an answer per node.
    payload = sum(node.payload_bytes_received for node in statistics)
    requests = 12 * (100 + 5000)
    copies = 12 * 55 + 2 * 12
    assert sum(node.wire_bytes_sent for node in statistics) == payload + requests + copies * OVERHEAD_BYTES
    assert sum(node.wire_bytes_received for node in statistics) == sum(node.wire_bytes_sent for node in statistics)


@pytest.mark.parametrize("loss", [0.1, 0.5])
def test_lost_copies_are_sent_again(loss: float) -> None:
    _, statistics = _run(3, Conditions(loss=loss))
    received = sum(node.messages_received for node in statistics)
    lost = 1 - sum(node.wire_bytes_received for node in statistics) / sum(node.wire_bytes_sent for node in statistics)
    assert received > 12 * 55 * (0.99 if loss < 0.3 else 0.9)
    assert lost == pytest.approx(loss, abs=0.1)


def test_a_message_lost_for_good_is_only_missing() -> None:
    _, statistics = _run(3, Conditions(loss=1.0))
    assert all(node.messages_received == 0 for node in statistics)


async def test_bandwidth_is_shared_by_what_is_sent(autojump_clock: MockClock) -> None:
    conditions = Conditions(latency_s=(0.1, 0.1), bandwidth_bytes_per_s=100_000)
    async with AsyncExitStack() as stack:
        one, two, three = await _open(stack, MemoryNetwork(1, conditions), 3, autojump_clock)
        size = 100_000 - OVERHEAD_BYTES
        await one.publish(bytes(size))
        arrivals: list[float] = []

        async def wait(node: Network) -> None:
            await node.messages.receive()
            arrivals.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, two)
            nursery.start_soon(wait, three)
        # One second of uplink per copy, one copy after the other; nobody asks for what is on its
        # way.
        assert sorted(arrivals) == pytest.approx([1.1, 2.1])
        await trio.sleep(10)
        assert one.statistics().wire_bytes_sent == 200_000


async def test_a_partition_cuts_and_heals(autojump_clock: MockClock) -> None:
    medium = MemoryNetwork(5)
    async with AsyncExitStack() as stack:
        nodes = await _open(stack, medium, 4, autojump_clock)
        left, right = nodes[:2], nodes[2:]
        groups = tuple(frozenset(node.peer_id for node in side) for side in (left, right))
        medium.conditions = Conditions(partitions=(Partition(10, 12, groups), Partition(20, 100, groups)))
        await trio.sleep(10)
        assert {peer.peer_id for peer in nodes[0].peers()} == {nodes[1].peer_id}
        with pytest.raises(NetworkError, match="cannot be reached"):
            await nodes[0].request(nodes[2].peer_id, "/test", b"", 10)
        with pytest.raises(NetworkError):
            await nodes[0].dial(nodes[2].addresses()[0])
        await nodes[0].publish(b"through a short cut")
        await trio.sleep(1)
        assert [node.statistics().messages_received for node in nodes] == [0, 1, 0, 0]
        await trio.sleep(9)
        # Gossip still held it when the partition ended.
        assert [node.statistics().messages_received for node in nodes] == [0, 1, 1, 1]
        await nodes[0].publish(b"into a long one")
        await trio.sleep(100)
        assert [node.statistics().messages_received for node in nodes] == [0, 2, 1, 1]
        assert len(nodes[0].peers()) == 3


async def test_a_handler_ends_with_its_node(autojump_clock: MockClock) -> None:
    async def never(peer: str, request: bytes) -> bytes:
        await trio.sleep_forever()
        return b""

    clock = VirtualClock(autojump_clock, 0)
    medium = MemoryNetwork(1)
    async with AsyncExitStack() as stack:
        (one,) = await _open(stack, medium, 1, autojump_clock)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(NetworkError, match="refused"):
                    await one.request(two.peer_id, "/test/never", b"", 10)

            async with medium.join(seed(1), Heard().subscription, clock=clock) as two:
                two.serve("/test/never", never)
                nursery.start_soon(ask)
                await trio.sleep(2)
        assert trio.current_time() < 5


async def test_one_identity_runs_once(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as stack:
        medium = MemoryNetwork(1)
        await _open(stack, medium, 1, autojump_clock)
        with pytest.raises(NetworkError, match="already"):
            await _open(stack, medium, 1, autojump_clock)
