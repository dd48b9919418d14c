"""Nothing is lost of the logs: what a node missed it asks for, whoever it was that kept it away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import trio
from log_shapes import LogMedium, LogNode, complete
from swarm_shapes import HOUR_MS, NOW_MS, RULES, Peer
from trio.testing import MockClock

from protocols.limits import MAX_HEADS, MAX_LOG_BYTES
from protocols.manifest import topic
from protocols.messages import Kind
from protocols.sync import HEADS_PROTOCOL, LOG_PROTOCOL, Head, HeadsRequest, LogRequest, pack_heads, pack_log, read_log
from swarm.clock import VirtualClock
from swarm.config.schema import PoolSection
from swarm.exchange.log_sync import LogSync
from swarm.net.network import deaf
from swarm.net.simulated import Conditions, MemoryNetwork, Partition


def medium_of(path: Path, clock: MockClock, conditions: Conditions | None = None) -> LogMedium:
    return LogMedium(path, VirtualClock(clock, NOW_MS), MemoryNetwork(1, conditions))


async def publish_for(nodes: list[LogNode], seconds: float, every: float) -> None:
    """Each node publishes once in `every` seconds."""
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


async def test_two_halves_of_a_swarm_grow_together_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(medium.node(number)) for number in range(1, 33)]
        half = frozenset(node.context.identity.peer_id for node in nodes[:16])
        now = medium.network.now_s()
        medium.network.conditions = Conditions(partitions=(Partition(now + 25, now + 50, (half,)),))
        await publish_for(nodes, 50, 25)
        assert {len(await node.held()) for node in nodes} == {32}, "both halves went on"
        await publish_for(nodes, 25, 25)
        assert await complete(nodes, 300)
        for node in nodes:
            assert all(sequences == [0, 1, 2] for sequences in (await node.held()).values())
            assert not set(await node.refused()) - {"duplicate"}
            assert node.sync.statistics().faults == 0


async def test_a_fifth_of_all_messages_lost(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock, Conditions(loss=0.2))
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(medium.node(number)) for number in range(1, 7)]
        # Without gossip's own repair, what is lost stays lost to gossip.
        for node in nodes:
            node.network._repair = _nothing
        await publish_for(nodes, 60, 6)
        assert await complete(nodes, 300)
        assert sum(node.sync.statistics().fetched for node in nodes) > 10
        for node in nodes:
            assert {tuple(sequences) for sequences in (await node.held()).values()} == {tuple(range(10))}
            assert not set(await node.refused()) - {"duplicate"}, "gaps and late arrivals are nobody's fault"


async def _nothing(copy: object) -> None:
    pass


async def test_old_shares_and_unknown_kinds_belong_to_the_log_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as one, medium.node(2) as two:
        assert await one.share()
        assert await one.share("right", "x" * 9)
        peer = Peer(7, now_ms=NOW_MS)
        first = peer.publish()
        newer = peer.sign_anything(100, b"of another version")
        after = Peer(7, now_ms=NOW_MS, sequence=2, previous=_id_of(newer), next_index=1)
        for data in (first, newer, after.publish()):
            await two.admit(data, "somebody")
        broken = Peer(8).sign_anything(Kind.SHARE, b"\x90")
        await two.admit(broken, "somebody")
        assert (await two.held())[peer.key] == [0, 1, 2]
        assert await two.refused() == {"kind": 1, "schema": 1}
        await trio.sleep(3 * HOUR_MS / 1000)
        async with medium.node(3) as late:
            assert await complete([one, two, late], 60)
            assert await late.refused() == {"kind": 1, "schema": 1, "stale": 4}
            assert late.admission.statistics().groups == 0
            assert late.admission.standing.statistics(medium.clock.now_ms()).silenced == 0
            fetched = late.sync.statistics().fetched
            await trio.sleep(600)
            assert late.sync.statistics().fetched == fetched == 6


def _id_of(data: bytes) -> bytes:
    from protocols.envelope import open_envelope

    return open_envelope(data, RULES.id).id


async def test_announced_bodies_are_pulled_and_old_ones_are_not(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as one:
        assert await one.share("right", "wrong", announce=True)
        assert await one.share("right", "other")
        async with medium.node(2) as two:
            assert await complete([one, two], 60)
            assert two.admission.statistics().groups == 2
            assert await two.refused() == {}
        await trio.sleep(3 * HOUR_MS / 1000)
        requests = one.network.statistics().requests_served
        async with medium.node(3) as three:
            assert await complete([one, three], 60)
            assert await three.refused() == {"stale": 2}
            assert one.network.statistics().requests_served - requests <= 6, "heads and logs, no body"


async def test_a_full_pool_does_not_fetch_what_it_dropped(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    bounds = PoolSection(max_bytes=12_000)
    async with medium.node(1) as one, medium.node(2, bounds=bounds) as small:
        await publish_for([one], 200, 4)
        await trio.sleep(60)
        held = (await small.held())[one.context.identity.public_key]
        assert 5 < len(held) < 50
        assert held[-1] == 49
        fetched = small.sync.statistics().fetched
        await trio.sleep(600)
        assert small.sync.statistics().fetched == fetched
        assert await one.share()
        await trio.sleep(60)
        assert (await small.held())[one.context.identity.public_key][-1] == 50


async def test_a_hole_that_nobody_can_fill_keeps_nothing_else_away(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    holed = Peer(9)
    parts = [holed.publish() for _ in range(5)]
    async with medium.node(1) as one:
        for data in (parts[0], parts[2], parts[4]):
            await one.admit(data, "somebody")
        await publish_for([one], 20, 2)
        async with medium.node(2) as late:
            assert await complete([one, late], 120)
            assert (await late.held())[holed.key] == [0, 2, 4]
            await trio.sleep(300)
            assert late.sync.statistics().faults == 0
            assert await late.refused() == {}
            await late.admit(parts[1])
            await trio.sleep(120)
            assert (await one.held())[holed.key] == [0, 1, 2, 4], "late, between its neighbours, and nobody's fault"
            assert await one.refused() == {}


# Liars


Answer = Callable[[bytes], bytes]


async def with_liar(tmp_path: Path, clock: MockClock, heads: Answer, log: Answer) -> LogNode:
    """A late node among two honest ones and a liar; it must get every log all the same."""
    medium = medium_of(tmp_path, clock)
    async with (
        medium.node(1) as one,
        medium.node(2) as two,
        medium.network.join("liar", deaf(topic(RULES)), clock=medium.clock) as liar,
    ):

        async def on_heads(peer: str, request: bytes) -> bytes:
            return heads(request)

        async def on_log(peer: str, request: bytes) -> bytes:
            return log(request)

        liar.serve(HEADS_PROTOCOL, on_heads)
        liar.serve(LOG_PROTOCOL, on_log)
        await publish_for([one, two], 9, 3)
        async with medium.node(3) as late:
            assert await complete([one, two, late], 300)
            await trio.sleep(300)
            assert (await late.held()).keys() == {one.context.identity.public_key, two.context.identity.public_key}
            assert late.sync.statistics().faults > 0, "the liar had its turns"
            assert await late.refused() == {}
            return late


def fake_heads(request: bytes) -> bytes:
    asked = HeadsRequest.from_bytes(request)
    keys = sorted(max(bytes([number % 256]) * 31 + bytes([number // 256]), asked.start) for number in range(2, 900))
    return pack_heads([Head(key, 0, 2**53 - 1, bytes(32)) for key in sorted(set(keys))][: asked.count])


async def test_heads_that_cannot_be_served_cost_a_turn(tmp_path: Path, autojump_clock: MockClock) -> None:
    await with_liar(tmp_path, autojump_clock, fake_heads, lambda request: pack_log([]))


async def test_junk_for_heads(tmp_path: Path, autojump_clock: MockClock) -> None:
    await with_liar(tmp_path, autojump_clock, lambda request: b"\xc1" * 100, lambda request: b"")


async def test_other_envelopes_than_were_asked_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    stolen = Peer(9).publish()
    await with_liar(tmp_path, autojump_clock, fake_heads, lambda request: pack_log([stolen] * 20))


async def test_heads_of_nobody_asked_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    def reversed_heads(request: bytes) -> bytes:
        return b"\x92" + 2 * pack_heads([Head(bytes([9]) * 32, 0, 5, bytes(32))])[1:]

    await with_liar(tmp_path, autojump_clock, reversed_heads, lambda request: pack_log([]))


async def test_another_swarms_requests_are_refused(tmp_path: Path, autojump_clock: MockClock) -> None:
    import pytest

    from swarm.errors import NetworkError

    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as one, medium.node(2) as two:
        assert await one.share()
        to = one.context.identity.peer_id
        for protocol, request in (
            (HEADS_PROTOCOL, HeadsRequest(bytes(32), bytes(32), MAX_HEADS).to_bytes()),
            (LOG_PROTOCOL, LogRequest(bytes(32), one.context.identity.public_key, 0, 1).to_bytes()),
            (HEADS_PROTOCOL, b"\xc1"),
            (LOG_PROTOCOL, b""),
        ):
            with pytest.raises(NetworkError):
                await two.network.request(to, protocol, request, MAX_LOG_BYTES)
        asked = LogRequest(RULES.id, one.context.identity.public_key, 0, 9)
        (envelope,) = read_log(await two.network.request(to, LOG_PROTOCOL, asked.to_bytes(), MAX_LOG_BYTES), asked)
        assert envelope.id == one.log.position.previous
        assert isinstance(one.sync, LogSync)
