"""Peers that mean harm, on real loopback: each is bounded, and who persists is cut off and listed with the reason."""

from __future__ import annotations

import os
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
from conftest import CONFIG, TOPIC, connected, received, seed
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux import yamux
from libp2p.utils.varint import encode_uvarint, encode_varint_prefixed

from swarm.clock import WallClock
from swarm.errors import NetworkError
from swarm.net import guard, quota
from swarm.net.libp2p import gate, gossip, host, mesh, open_libp2p, streams, upgrade
from swarm.net.libp2p.mesh import content_id
from swarm.net.network import CutOff, Network, Verdict

GOSSIP = "/meshsub/1.1.0"


def _open(index: int, *bootstrap: Network, **settings: Any) -> AbstractAsyncContextManager[Network]:
    return open_libp2p(
        seed(index),
        topic=TOPIC,
        validate=lambda data: Verdict.REJECT if data.startswith(b"bad") else Verdict.ACCEPT,
        clock=WallClock(),
        config=replace(CONFIG, **settings),
        bootstrap=[address for node in bootstrap for address in node.addresses()],
    )


@asynccontextmanager
async def _victim_and_peer(**settings: Any) -> AsyncIterator[tuple[Network, Any]]:
    """An honest node with these settings, and a peer of it that is about to misbehave."""
    async with _open(0, **settings) as victim, _open(1, victim) as peer:
        await connected(victim, peer)
        yield victim, peer


async def _stream(peer: Any, victim: Network, protocol: str) -> Any:
    return await peer._host.new_stream(ID.from_string(victim.peer_id), [protocol])


async def _cut(victim: Network, timeout_s: float = 10.0) -> CutOff:
    with trio.fail_after(timeout_s):
        while not victim.cut_off():
            await trio.sleep(0.02)
    [cut] = victim.cut_off()
    return cut


async def _until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    with trio.fail_after(timeout_s):
        while not true():
            await trio.sleep(0.02)


async def _drip(write: Callable[[bytes], Awaitable[None]], pause_s: float) -> None:
    """One byte at a time, for ever: the beginning of a handshake, or the inside of a frame."""
    for byte in b"\x13/multistream/1.0.0\n\x07/noise\n" * 1000:
        await write(bytes([byte]))
        await trio.sleep(pause_s)


async def _still_serves(victim: Network) -> None:
    """An honest newcomer connects, is heard and is answered."""

    async def echo(peer: str, request: bytes) -> bytes:
        return request

    victim.serve("/test/still", echo)
    async with _open(9, victim) as honest:
        await connected(honest, count=1)
        await honest.publish(b"still here")
        with trio.fail_after(5):
            while (await victim.messages.receive()).data != b"still here":
                pass
        assert await honest.request(victim.peer_id, "/test/still", b"?", 10) == b"?"


# Floods


async def test_who_sends_far_more_than_its_quota_is_cut_off_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CUT_AFTER_S", 1.0)
    async with _victim_and_peer(peer_messages_per_s=20.0) as (victim, peer):
        with trio.move_on_after(10):
            while not victim.cut_off():
                await peer.publish(os.urandom(200))
        cut = await _cut(victim)
        assert (cut.peer_id, cut.address) == (peer.peer_id, "127.0.0.1")
        assert cut.reason == "flood: too many messages for 1 s"
        # Its burst, its rate for as long as it lasted, and no more.
        assert victim.statistics().messages_received < 20 * quota.BURST_S + 20 * 6
        assert victim.statistics().throttled > 0
        await _until(lambda: not any(each.connected for each in victim.peers()))
        with pytest.raises(NetworkError, match="cut off"):
            await victim.dial(peer.addresses()[0])
        await _still_serves(victim)


async def test_what_is_flooded_is_not_all_forwarded() -> None:
    async with _victim_and_peer(peer_messages_per_s=50.0) as (victim, peer), _open(2, victim, peer_messages_per_s=50.0) as third:
        await connected(victim, third, count=1)
        # The third must hear of it by the victim alone.
        await third.dial(victim.addresses()[0])
        for _ in range(300):
            await peer.publish(os.urandom(200))
        await _until(lambda: victim.statistics().messages_received >= 250)
        assert victim.statistics().not_forwarded > 0
        assert not third.cut_off()
        assert not victim.cut_off()


async def test_a_flood_of_pings_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CUT_AFTER_S", 0.5)
    monkeypatch.setattr(quota, "READS_PER_S", 200.0)
    monkeypatch.setattr(quota, "READS_BURST", 500.0)
    async with _victim_and_peer() as (victim, peer):
        [connection] = peer._connections(victim.peer_id)
        ping = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_ACK, 0, 7)
        with trio.move_on_after(10), suppress(BaseLibp2pError):
            while not victim.cut_off():
                await connection.muxed_conn._write_frame(ping * 100)
        assert (await _cut(victim)).reason.startswith("flood: too many frames")


async def test_requests_beyond_what_may_wait_are_refused_and_then_their_sender_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quota, "REFUSED_ALLOWED", 20.0)

    async def slow(peer: str, request: bytes) -> bytes:
        await trio.sleep(0.3)
        return request

    async def ask() -> None:
        with suppress(NetworkError):
            await peer.request(victim.peer_id, "/test/slow", b"?", 10)

    async with _victim_and_peer() as (victim, peer):
        victim.serve("/test/slow", slow)
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(ask)
        assert (await _cut(victim)).reason == "too many requests"
        assert victim.statistics().requests_served <= 16


async def test_one_peers_slow_requests_leave_room_for_others() -> None:
    release = trio.Event()

    async def slow(peer: str, request: bytes) -> bytes:
        if request == b"hold":
            await release.wait()
        return request

    async with _victim_and_peer() as (victim, peer), _open(2, victim) as honest:
        victim.serve("/test/slow", slow)
        await connected(honest, count=1)
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                with suppress(NetworkError):
                    await peer.request(victim.peer_id, "/test/slow", b"hold", 10)

            for _ in range(16):
                nursery.start_soon(hold)
            await trio.sleep(0.3)
            with trio.fail_after(2):
                assert await honest.request(victim.peer_id, "/test/slow", b"go", 10) == b"go"
            release.set()


# Frames


async def test_oversize_frames_are_refused_by_their_length_and_then_their_sender_is_cut_off() -> None:
    async with _victim_and_peer() as (victim, peer):
        for _ in range(40):
            if victim.cut_off():
                break
            with suppress(BaseLibp2pError), trio.move_on_after(1):
                stream = await _stream(peer, victim, GOSSIP)
                await stream.write(encode_uvarint(2**28) + b"x" * 1000)
                await stream.read(1)
        cut = await _cut(victim)
        assert (cut.peer_id, cut.reason) == (peer.peer_id, "invalid: frames")
        await _still_serves(victim)


async def test_oversize_requests_are_refused_and_then_their_sender_is_cut_off() -> None:
    async def echo(peer: str, request: bytes) -> bytes:
        return request

    async with _victim_and_peer() as (victim, peer):
        victim.serve("/test/small", echo, max_request_bytes=10)
        for _ in range(40):
            if victim.cut_off():
                break
            with suppress(NetworkError):
                await peer.request(victim.peer_id, "/test/small", bytes(11), 10)
        assert (await _cut(victim)).reason == "invalid: requests, too large"


async def test_a_frame_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "FRAME_S", 0.5)
    async with _victim_and_peer() as (victim, peer):
        stream = await _stream(peer, victim, GOSSIP)
        await stream.write(encode_uvarint(1000))
        with pytest.raises(BaseLibp2pError), trio.fail_after(5):
            await _drip(stream.write, 0.05)
        await _still_serves(victim)


async def test_more_than_two_streams_of_gossip_close_the_oldest() -> None:
    async with _victim_and_peer() as (victim, peer):
        held = []
        for _ in range(8):
            held.append(await _stream(peer, victim, GOSSIP))
            # Half a megabyte of a frame on each.
            await held[-1].write(encode_uvarint(1_000_000) + bytes(500_000))
        await trio.sleep(0.5)
        assert len(victim._pubsub._streams[ID.from_string(peer.peer_id)]) <= gossip.MAX_GOSSIP_STREAMS  # type: ignore[attr-defined]


async def test_what_one_asks_for_ten_thousand_times_is_sent_once() -> None:
    async with _victim_and_peer() as (victim, peer):
        data = os.urandom(100_000)
        await victim.publish(data)
        await trio.sleep(0.3)
        before = victim.statistics().wire_bytes_sent
        wanted = content_id(rpc_pb2.Message(data=data))
        control = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[wanted] * 10_000)])
        stream = await _stream(peer, victim, GOSSIP)
        await stream.write(encode_varint_prefixed(rpc_pb2.RPC(control=control).SerializeToString()))
        await trio.sleep(0.5)
        assert victim.statistics().wire_bytes_sent - before < 2 * len(data)


async def test_topics_that_a_peer_invents_leave_nothing_behind() -> None:
    async with _victim_and_peer() as (victim, peer):
        stream = await _stream(peer, victim, GOSSIP)
        router = victim._pubsub.router  # type: ignore[attr-defined]
        for number in range(40):
            topics = [f"invented {number} {each}" for each in range(gossip.MAX_CONTROL)]
            control = rpc_pb2.ControlMessage(
                prune=[rpc_pb2.ControlPrune(topicID=topic) for topic in topics],
                graft=[rpc_pb2.ControlGraft(topicID=topic) for topic in topics],
                ihave=[rpc_pb2.ControlIHave(topicID=topic, messageIDs=[bytes(32)]) for topic in topics],
            )
            await stream.write(encode_varint_prefixed(rpc_pb2.RPC(control=control).SerializeToString()))
        await trio.sleep(0.5)
        sender = ID.from_string(peer.peer_id)
        assert len(router.back_off) <= 1
        assert len(router.ihave_message_limits[sender]) <= 1
        assert len(router.graft_flood_tracking[sender]) <= 1


# Connections


def _raw_sockets(victim: Network, count: int) -> list[socket.socket]:
    port = int(victim.addresses()[0].split("/")[4])
    return [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]


def _half_open(victim: Any) -> int:
    return sum(each.inbound and not each.established for each in _tcp(victim).open)


def _tcp(victim: Any) -> Any:
    return next(iter(victim._host.get_network().listeners.values()))._transport


async def test_half_open_connections_are_few_and_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "HANDSHAKE_S", 3.0)
    async with _open(0) as victim:
        held = await trio.to_thread.run_sync(_raw_sockets, victim, 100)
        held[0].send(b"\x13/multi")
        await trio.sleep(0.5)
        assert 0 < _half_open(victim) <= gate.MAX_HALF_OPEN
        await _still_serves(victim)
        await _until(lambda: _half_open(victim) == 0, 5)
        assert victim.statistics().handshakes_failed == 100
        for each in held:
            each.close()


async def test_one_byte_at_a_time_does_not_prolong_a_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "HANDSHAKE_S", 1.0)
    async with _open(0) as victim:
        stream = await trio.open_tcp_stream("127.0.0.1", int(victim.addresses()[0].split("/")[4]))
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
            await _drip(stream.send_all, 0.1)
        assert trio.current_time() - began < 3
        await stream.aclose()


async def test_a_connection_that_does_not_answer_pings_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(upgrade, "PONG_WITHIN_S", 0.5)
    async with _victim_and_peer() as (victim, peer):
        await trio.sleep(2)
        assert any(each.connected for each in victim.peers())
        [connection] = peer._connections(victim.peer_id)

        async def nothing(data: bytes) -> None:
            await trio.sleep_forever()

        connection.muxed_conn._write_frame = nothing
        await _until(lambda: not any(each.connected for each in victim.peers()), 5)


async def test_who_sends_past_the_flow_control_is_cut_off() -> None:
    async def slow(peer: str, request: bytes) -> bytes:
        await trio.sleep(2)
        return b""

    async with _victim_and_peer(peer_bytes_per_s=64.0 * 2**20) as (victim, peer):
        victim.serve("/test/slow", slow)
        stream = await _stream(peer, victim, "/test/slow")
        await stream.write(struct.pack(">I", 0))
        muxed = stream.muxed_stream
        with suppress(BaseLibp2pError), trio.move_on_after(10):
            for _ in range(200):
                muxed.send_window = 2**30
                await muxed.write(bytes(60_000))
        assert "flow control" in (await _cut(victim)).reason


async def test_streams_of_one_peer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS_PER_PEER", 30)
    monkeypatch.setattr(quota, "REFUSED_ALLOWED", 50.0)
    async with _victim_and_peer() as (victim, peer):
        [connection] = peer._connections(victim.peer_id)
        with suppress(BaseLibp2pError), trio.move_on_after(10):
            for _ in range(200):
                # None of them ever says what it is for.
                await connection.muxed_conn.open_stream()
        assert (await _cut(victim)).reason == "too many streams"
        assert victim.statistics().streams_refused > 0


# Lists, and what the node thinks


async def test_who_is_denied_gets_in_by_no_way() -> None:
    async with _open(1) as peer:
        for denied in (peer.peer_id, "127.0.0.0/8"):
            async with _open(0, deny=(denied,)) as victim:
                with pytest.raises(NetworkError, match=r"network\.deny"):
                    await victim.dial(peer.addresses()[0])
                with suppress(NetworkError):
                    await peer.dial(victim.addresses()[0])
                await trio.sleep(0.3)
                assert not any(each.connected for each in victim.peers())


async def test_an_allow_list_admits_nobody_else() -> None:
    async with _open(1) as friend, _open(2) as stranger, _open(0, allow=(friend.peer_id,)) as victim:
        with pytest.raises(NetworkError, match=r"network\.allow"):
            await victim.dial(stranger.addresses()[0])
        with suppress(NetworkError):
            await stranger.dial(victim.addresses()[0])
        await friend.dial(victim.addresses()[0])
        await trio.sleep(0.5)
        assert {each.peer_id for each in victim.peers() if each.connected} == {friend.peer_id}
        await friend.publish(b"from a friend")
        assert [message.data for message in await received(victim, 1)] == [b"from a friend"]


async def test_who_lost_its_standing_is_left_and_not_heard() -> None:
    async with _victim_and_peer() as (victim, peer):
        await peer.publish(b"before")
        assert len(await received(victim, 1)) == 1
        victim.judge(peer.peer_id, 0.0, "standing: it lied")
        assert (await _cut(victim)).reason == "standing: it lied"
        await _until(lambda: not any(each.connected for each in victim.peers()))
        await peer.publish(b"after")
        await trio.sleep(0.3)
        assert victim.statistics().messages_received == 1


async def test_a_worse_peer_is_a_neighbour_only_while_there_are_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _open(0) as victim:
        router, members = victim._pubsub.router, []  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:

            async def member(index: int) -> None:
                async with _open(index) as node:
                    await node.dial(victim.addresses()[0])
                    members.append(node.peer_id)
                    await trio.sleep_forever()

            for index in range(1, 9):
                nursery.start_soon(member, index)
            await _until(lambda: len(members) == 8, 20)
            worse = members[:4]
            for peer_id in worse:
                victim.judge(peer_id, 0.5)
            # Everybody asks to be a neighbour, being alone; of more than six the node keeps four.
            for peer_id in members:
                router.mesh[TOPIC].add(ID.from_string(peer_id))
            await _until(lambda: len(router.mesh[TOPIC]) <= mesh.DEGREE_HIGH)
            kept = {str(peer_id) for peer_id in router.mesh[TOPIC]}
            assert kept
            assert not kept & set(worse)
            await router.handle_graft(rpc_pb2.ControlGraft(topicID=TOPIC), ID.from_string(worse[0]))
            assert ID.from_string(worse[0]) not in router.mesh[TOPIC]
            nursery.cancel_scope.cancel()


# Memory


async def test_memory_stays_bounded_under_a_flood_of_large_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "OUTGOING_BYTES", 2 * 2**20)
    monkeypatch.setattr(mesh, "CACHE_BYTES", 2 * 2**20)
    async with _victim_and_peer(max_inbound_bytes=2 * 2**20, peer_bytes_per_s=64.0 * 2**20) as (victim, peer):
        tracemalloc.start()
        try:
            for _ in range(200):
                await peer.publish(os.urandom(300_000))
                await trio.sleep(0.005)
            await trio.sleep(0.5)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert victim.statistics().payload_bytes_received > 5_000_000
        assert victim.statistics().messages_dropped > 0
        # Both ends: two queues, two caches, one inbox, and what is under way.
        assert peak < 40 * 2**20
