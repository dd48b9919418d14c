"""Peers that flood or send oversized or endless data: each is bounded, and the persistent are cut
off and listed."""

from __future__ import annotations

import os
import struct
from contextlib import suppress

import pytest
import trio
from hostile_peers import GOSSIP, cut_off_by, drip, open_node, still_serves, stream_to, until, victim_and_peer
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.stream_muxer.yamux import yamux
from libp2p.utils.varint import encode_uvarint, encode_varint_prefixed
from net_shapes import SOON_S, connected

from swarm.errors import NetworkError
from swarm.net import guard, quota
from swarm.net.libp2p import gossip
from swarm.net.libp2p.mesh import content_id

# Floods


async def test_who_sends_far_more_than_its_quota_is_cut_off_and_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CUT_AFTER_S", 1.0)
    async with victim_and_peer(peer_messages_per_s=20.0) as (victim, peer):
        with trio.move_on_after(SOON_S):
            while not victim.cut_off():
                await peer.publish(os.urandom(200))
        cut = await cut_off_by(victim)
        assert (cut.peer_id, cut.address) == (peer.peer_id, "127.0.0.1")
        assert cut.reason == "flood: too many messages for 1 s"
        # Its burst, its rate for as long as it lasted, and no more.
        assert victim.statistics().messages_received < 20 * quota.BURST_S + 20 * 6
        assert victim.statistics().throttled > 0
        await until(lambda: not any(each.connected for each in victim.peers()))
        with pytest.raises(NetworkError, match="cut off"):
            await victim.dial(peer.addresses()[0])
        await still_serves(victim)


async def test_what_is_flooded_is_not_all_forwarded() -> None:
    async with (
        victim_and_peer(peer_messages_per_s=50.0) as (victim, peer),
        open_node(2, victim, peer_messages_per_s=50.0) as third,
    ):
        await connected(victim, third, count=1)
        # The third must hear of it by the victim alone.
        await third.dial(victim.addresses()[0])
        for _ in range(300):
            await peer.publish(os.urandom(200))
        await until(lambda: victim.statistics().messages_received >= 250)
        assert victim.statistics().not_forwarded > 0
        assert not third.cut_off()
        assert not victim.cut_off()


async def test_messages_that_are_ignored_are_read_no_faster_than_others() -> None:
    async with victim_and_peer(peer_messages_per_s=20.0) as (victim, peer):
        for number in range(400):
            await peer.publish(b"odd" + bytes([number % 256]) * (1 + number // 256))
        await until(lambda: victim.statistics().ignored >= 20 * quota.BURST_S)
        await trio.sleep(1.0)
        assert victim.statistics().ignored < 200
        assert victim.statistics().duplicates < 20, "those would be read faster; a few come twice where gossip overtakes them"


async def test_a_flood_of_pings_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CUT_AFTER_S", 0.5)
    monkeypatch.setattr(quota, "READS_PER_S", 200.0)
    monkeypatch.setattr(quota, "READS_BURST", 500.0)
    async with victim_and_peer() as (victim, peer):
        [connection] = peer._connections(victim.peer_id)
        ping = struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_ACK, 0, 7)
        with trio.move_on_after(SOON_S), suppress(BaseLibp2pError):
            while not victim.cut_off():
                await connection.muxed_conn._write_frame(ping * 100)
        assert (await cut_off_by(victim)).reason.startswith("flood: too many frames")


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

    async with victim_and_peer() as (victim, peer):
        victim.serve("/test/slow", slow)
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(ask)
        assert (await cut_off_by(victim)).reason == "too many requests"
        assert victim.statistics().requests_served <= 16


async def test_one_peers_slow_requests_leave_room_for_others() -> None:
    release = trio.Event()

    async def slow(peer: str, request: bytes) -> bytes:
        if request == b"hold":
            await release.wait()
        return request

    async with victim_and_peer() as (victim, peer), open_node(2, victim) as honest:
        victim.serve("/test/slow", slow)
        await connected(honest, count=1)
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                with suppress(NetworkError):
                    await peer.request(victim.peer_id, "/test/slow", b"hold", 10)

            for _ in range(16):
                nursery.start_soon(hold)
            await trio.sleep(0.3)
            with trio.fail_after(SOON_S):
                assert await honest.request(victim.peer_id, "/test/slow", b"go", 10) == b"go"
            release.set()


# Frames


async def test_oversize_frames_are_refused_by_their_length_and_then_their_sender_is_cut_off() -> None:
    async with victim_and_peer() as (victim, peer):
        while not victim.cut_off():
            with suppress(BaseLibp2pError), trio.fail_after(SOON_S):
                stream = await stream_to(peer, victim, GOSSIP)
                await stream.write(encode_uvarint(2**28) + b"x" * 1000)
                await stream.read(1)
        cut = await cut_off_by(victim)
        assert (cut.peer_id, cut.reason) == (peer.peer_id, "invalid: frames")
        await still_serves(victim)


async def test_oversize_requests_are_refused_and_then_their_sender_is_cut_off() -> None:
    async def echo(peer: str, request: bytes) -> bytes:
        return request

    async with victim_and_peer() as (victim, peer):
        victim.serve("/test/small", echo, max_request_bytes=10)
        for _ in range(40):
            if victim.cut_off():
                break
            with suppress(NetworkError):
                await peer.request(victim.peer_id, "/test/small", bytes(11), 10)
        assert (await cut_off_by(victim)).reason == "invalid: requests, too large"


async def test_a_frame_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "FRAME_S", 0.5)
    async with victim_and_peer() as (victim, peer):
        stream = await stream_to(peer, victim, GOSSIP)
        await stream.write(encode_uvarint(1000))
        with pytest.raises(BaseLibp2pError), trio.fail_after(SOON_S):
            await drip(stream.write, 0.05)
        await still_serves(victim)


async def test_more_than_two_streams_of_gossip_close_the_oldest_and_cut_off_who_goes_on() -> None:
    async with victim_and_peer() as (victim, peer):
        held = []
        for _ in range(8):
            held.append(await stream_to(peer, victim, GOSSIP))
            # Half a megabyte of a frame on each.
            await held[-1].write(encode_uvarint(1_000_000) + bytes(500_000))
        await trio.sleep(0.5)
        assert len(victim._pubsub._streams[ID.from_string(peer.peer_id)]) <= gossip.MAX_GOSSIP_STREAMS  # type: ignore[attr-defined]
        assert not victim.cut_off()
        with suppress(BaseLibp2pError):
            while not victim.cut_off():
                await (await stream_to(peer, victim, GOSSIP)).write(encode_uvarint(1_000_000))
        assert (await cut_off_by(victim)).reason == "invalid: streams of gossip, too many"


async def test_what_one_asks_for_ten_thousand_times_is_sent_once() -> None:
    async with victim_and_peer() as (victim, peer):
        data = os.urandom(100_000)
        await victim.publish(data)
        await trio.sleep(0.3)
        before = victim.statistics().wire_bytes_sent
        wanted = content_id(rpc_pb2.Message(data=data))
        control = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[wanted] * 10_000)])
        stream = await stream_to(peer, victim, GOSSIP)
        await stream.write(encode_varint_prefixed(rpc_pb2.RPC(control=control).SerializeToString()))
        await trio.sleep(0.5)
        assert victim.statistics().wire_bytes_sent - before < 2 * len(data)


async def test_topics_that_a_peer_invents_leave_nothing_behind() -> None:
    async with victim_and_peer() as (victim, peer):
        stream = await stream_to(peer, victim, GOSSIP)
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
