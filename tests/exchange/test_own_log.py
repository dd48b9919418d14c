"""A node that lost its pool, or got an old one back, does not fork its own log."""

from __future__ import annotations

import shutil
from pathlib import Path

import trio
from log_shapes import LogMedium, LogNode, complete
from swarm_shapes import HOUR_MS, NOW_MS, RULES, Peer
from trio.testing import MockClock

from protocols.envelope import open_envelope
from protocols.manifest import topic
from protocols.messages import Kind, Proof, Share, unpack_body
from protocols.sync import HEADS_PROTOCOL, LOG_PROTOCOL, Head, LogRequest, pack_heads, pack_log
from swarm.clock import VirtualClock
from swarm.exchange.equivocation import publish_proof
from swarm.exchange.own_log import ELSEWHERE, FORKED, end_of
from swarm.exchange.recovery import PATIENCE_S, TURN_S, WAITING
from swarm.net.network import deaf
from swarm.net.simulated import Conditions, MemoryNetwork, Partition


def medium_of(path: Path, clock: MockClock) -> LogMedium:
    return LogMedium(path, VirtualClock(clock, NOW_MS), MemoryNetwork(1))


def lose(medium: LogMedium, number: int) -> None:
    for path in medium.path.glob(f"{number}.sqlite*"):
        path.unlink()


def copy(medium: LogMedium, number: int, name: str, *, back: bool = False) -> None:
    """Keep the pool of a node that is closed under a name, or bring it back."""
    folder = medium.path / name
    if back:
        lose(medium, number)
    else:
        folder.mkdir()
    here, there = (folder, medium.path) if back else (medium.path, folder)
    for path in here.glob(f"{number}.sqlite*"):
        shutil.copy(path, there / path.name)


async def shares(node: LogNode, count: int) -> None:
    for _ in range(count):
        assert await node.share()
        await trio.sleep(2)


async def open_soon(node: LogNode, seconds: float = 5) -> bool:
    with trio.move_on_after(seconds):
        while node.log.silent:
            await trio.sleep(0.1)
    return not node.log.silent


async def test_a_lost_pool_is_told_by_peers_where_its_log_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as peer:
        async with medium.node(2) as node:
            await shares(node, 3)
            assert await node.share("right", "long", announce=True)
            await trio.sleep(5)
            before, reached = node.log.position, node.log.indices.reached
        lose(medium, 2)
        async with medium.node(2, new=False) as node:
            assert node.log.silent == WAITING
            assert not await node.share()
            assert await open_soon(node)
            assert node.log.position == before
            assert node.log.indices.reached == reached
            await shares(node, 2)
            assert await complete([peer, node], 60)
            assert await peer.refused() == {}
        async with medium.node(2, new=False) as node:
            assert await open_soon(node), "what was told is noted"


async def test_a_lost_pool_without_peers_waits_for_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(2, new=False) as node:
        assert not await open_soon(node, 3600)
        async with medium.node(1):
            assert await open_soon(node, 20), "one answer is enough, though it knows of nothing"
            await shares(node, 1)


async def test_a_new_key_waits_for_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as node:
        await shares(node, 2)
    async with medium.node(1) as node:
        assert await open_soon(node), "a restarted node that knows nobody contradicts nobody"
        await shares(node, 1)


async def test_an_old_backup_continues_where_its_log_really_ended(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as peer:
        async with medium.node(2) as node:
            await shares(node, 2)
        copy(medium, 2, "backup")
        async with medium.node(2) as node:
            assert await open_soon(node)
            await shares(node, 3)
            end = node.log.position
        copy(medium, 2, "backup", back=True)
        async with medium.node(2) as node:
            assert not await node.share(), "not before a peer has answered"
            assert await open_soon(node)
            assert node.log.position == end
            await shares(node, 1)
            assert await complete([peer, node], 60)
            assert await peer.refused() == {}


async def test_peers_that_are_cut_off_keep_an_old_backup_silent(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1), medium.node(2, bootstrap=("/memory/0/p2p/known",)) as node:
        await shares(node, 2)
        nobody = frozenset({node.context.identity.peer_id})
        now = medium.network.now_s()
        medium.network.conditions = Conditions(partitions=(Partition(now, now + 100, (nobody,)),))
        node.log.doubt(WAITING)
        await trio.sleep(90)
        assert node.log.silent == WAITING
        await trio.sleep(30)
        assert node.log.silent == ""


async def test_peers_that_do_not_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A restarted node loses its patience, one with a lost pool does not."""
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(2) as node:
        await shares(node, 1)
    async with medium.network.join("mute", deaf(topic(RULES)), clock=medium.clock):
        async with medium.node(2) as node:
            assert not await open_soon(node, PATIENCE_S - 10)
            assert await open_soon(node, 30)
        lose(medium, 2)
        async with medium.node(2, new=False) as node:
            assert not await open_soon(node, 1000)


async def test_a_liar_can_withhold_and_not_invent(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    key = Peer(2).key
    async with medium.network.join("liar", deaf(topic(RULES)), clock=medium.clock) as liar:

        async def heads(peer: str, request: bytes) -> bytes:
            return pack_heads([Head(key, 0, 10**6, bytes(32))])

        liar.serve(HEADS_PROTOCOL, heads)
        async with medium.node(1) as peer, medium.node(3):
            async with medium.node(2) as node:
                await shares(node, 3)
            lose(medium, 2)
            async with medium.node(2, new=False) as node:
                assert await open_soon(node, PATIENCE_S)
                await shares(node, 1)
                assert node.log.position.sequence == 4
                await trio.sleep(5)
                assert await peer.refused() == {}
                await trio.sleep(300)
                assert await open_soon(node, PATIENCE_S)


async def test_a_peer_that_gives_the_log_drop_by_drop_has_its_turn_and_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    key, log = Peer(2).key, Peer(2)
    held = [log.publish() for _ in range(40)]
    async with medium.network.join("a slow one", deaf(topic(RULES)), clock=medium.clock) as slow:

        async def heads(peer: str, request: bytes) -> bytes:
            return pack_heads([Head(key, 0, len(held) - 1, open_envelope(held[-1], RULES.id).id)])

        async def drop(peer: str, request: bytes) -> bytes:
            await trio.sleep(9)
            return pack_log([held[LogRequest.from_bytes(request).first]])

        slow.serve(HEADS_PROTOCOL, heads)
        slow.serve(LOG_PROTOCOL, drop)
        async with medium.node(1, sync=False) as peer:
            for data in held:
                await peer.admit(data, "somebody")
            async with medium.node(2, new=False, sync=False) as node:
                assert await open_soon(node, TURN_S + 20)
                assert node.log.position.sequence == len(held)


async def test_a_cancelled_fetch_leaves_the_end_of_the_log_known(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(2) as node:
        run, envelope = node.pool.run, open_envelope(Peer(2).publish(), RULES.id)
        with trio.CancelScope() as network_lost:

            async def run_and_lose(work):  # type: ignore[no-untyped-def]
                result = await run(work)
                network_lost.cancel()
                return result

            node.pool.run = run_and_lose  # type: ignore[method-assign]
            await node.recovery._take_over(node.network, "somebody", envelope)
        node.pool.run = run  # type: ignore[method-assign]
        assert node.log.position.sequence == 1
        assert await node.share()


async def test_a_proof_waits_with_the_log(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(2) as node, trio.open_nursery() as nursery:
        await node.log.one.acquire()
        nursery.start_soon(publish_proof, node.pool, node.log, node.network, Proof(b"one", b"other"))
        await trio.sleep(1)
        node.log.silent = ELSEWHERE
        node.log.one.release()
        await trio.sleep(1)
        assert node.log.position.sequence == 0


async def test_an_own_envelope_from_elsewhere_stops_the_log_until_it_was_fetched(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as peer, medium.node(2) as node:
        await shares(node, 2)
        twin = Peer(2, sequence=2, previous=node.log.position.previous, next_index=2)
        missed, seen = twin.publish(), twin.publish()
        await peer.admit(missed, "twin")
        await peer.network.publish(seen)
        await peer.admit(seen, "twin")
        while not node.log.silent:
            await trio.sleep(0.001)
        assert node.log.silent == ELSEWHERE
        assert await open_soon(node)
        assert node.log.position.sequence == 4
        assert (await node.held())[node.context.identity.public_key] == [0, 1, 2, 3], "what lay between was fetched"
        await shares(node, 1)
        assert await complete([peer, node], 60)
        assert await peer.refused() == {}


async def test_a_key_that_signed_two_histories_signs_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as peer:
        async with medium.node(2) as node:
            await shares(node, 1)
            other = Peer(2)
            await peer.network.publish(other.publish(other.group(0, "right", "other")))
            await trio.sleep(1)
            assert node.log.silent == FORKED
            await peer.admit(Peer(2).seal(Peer(2).share(Peer(2).group(0, "right", "other"))).to_bytes(), "twin")
            await trio.sleep(60)
            assert node.log.silent == FORKED
            assert not await node.share()
        async with medium.node(2) as node:
            await trio.sleep(60)
            assert node.log.silent == FORKED
            assert peer.log.silent == ""


async def test_where_a_log_ends_when_its_last_body_is_lost(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(2) as node:
        assert await node.share()
        assert await node.share("right", "long", announce=True)
        await node.pool.run(lambda store: store.rows("UPDATE envelopes SET body = NULL, body_hash = NULL WHERE sequence = 1"))
        end, reached = await node.pool.run(lambda store: end_of(store, RULES))
        assert (end.sequence, reached.next_index) == (2, RULES.tasks_per_epoch), "no index is used twice"
        await trio.sleep(HOUR_MS / 1000)
        assert await node.share()
        entry = await node.pool.run(lambda store: store.newest_own())
        assert entry is not None
        share = unpack_body(Kind.SHARE, open_envelope(entry.envelope, RULES.id).body)
        assert isinstance(share, Share)
        assert share.first_index == 0
