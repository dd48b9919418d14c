"""Connections and streams held open, lists, standing and memory, on real loopback."""

from __future__ import annotations

import os
import socket
import struct
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
import trio
from hostile_peers import cut_off_by, drip, open_node, still_serves, stream_to, until, victim_and_peer
from libp2p.crypto import secp256k1
from libp2p.exceptions import BaseLibp2pError
from libp2p.io.trio import TrioTCPStream
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from multiaddr import Multiaddr
from net_shapes import SOON_S, TOPIC, received

from swarm.errors import NetworkError
from swarm.net import quota
from swarm.net.libp2p import gate, host, mesh, streams, upgrade
from swarm.net.network import Network

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
    async with open_node(0) as victim:
        held = await trio.to_thread.run_sync(_raw_sockets, victim, 100)
        # It may have been displaced by the others already.
        with suppress(ConnectionError):
            held[0].send(b"\x13/multi")
        await until(lambda: _half_open(victim) > 0 or victim.statistics().handshakes_failed > 0)
        await trio.sleep(0.5)
        assert _half_open(victim) <= gate.MAX_HALF_OPEN
        await still_serves(victim)
        await until(lambda: victim.statistics().handshakes_failed == 100)
        assert _half_open(victim) == 0
        for each in held:
            each.close()


async def test_a_handshake_that_ends_early_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    async def counted(stream: Any, n: int | None = None) -> bytes:
        nonlocal reads
        reads += 1
        return await original(stream, n)

    original = TrioTCPStream.read
    monkeypatch.setattr(TrioTCPStream, "read", counted)
    async with open_node(0) as victim:
        [held] = await trio.to_thread.run_sync(_raw_sockets, victim, 1)
        held.send(b"\x13/multi")
        held.close()
        await until(lambda: victim.statistics().handshakes_failed == 1)
        assert reads < 5
        assert victim.statistics().faults == 0


async def test_one_byte_at_a_time_does_not_prolong_a_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "HANDSHAKE_S", 1.0)
    async with open_node(0) as victim:
        stream = await trio.open_tcp_stream("127.0.0.1", int(victim.addresses()[0].split("/")[4]))
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(SOON_S):
            await drip(stream.send_all, 0.1)
        assert trio.current_time() - began < 20, "the bytes would take an hour"
        await stream.aclose()


async def test_a_connection_that_does_not_answer_pings_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(upgrade, "PONG_WITHIN_S", 2.0)
    async with victim_and_peer() as (victim, peer):
        await trio.sleep(2)
        assert any(each.connected for each in victim.peers())
        [connection] = peer._connections(victim.peer_id)

        async def nothing(data: bytes) -> None:
            await trio.sleep_forever()

        connection.muxed_conn._write_frame = nothing
        await until(lambda: not any(each.connected for each in victim.peers()))


async def test_who_sends_past_the_flow_control_is_cut_off() -> None:
    async def slow(peer: str, request: bytes) -> bytes:
        await trio.sleep(2)
        return b""

    async with victim_and_peer(peer_bytes_per_s=64.0 * 2**20) as (victim, peer):
        victim.serve("/test/slow", slow)
        stream = await stream_to(peer, victim, "/test/slow")
        await stream.write(struct.pack(">I", 0))
        muxed = stream.muxed_stream
        with suppress(BaseLibp2pError), trio.move_on_after(SOON_S):
            for _ in range(200):
                muxed.send_window = 2**30
                await muxed.write(bytes(60_000))
        assert "flow control" in (await cut_off_by(victim)).reason


async def test_streams_of_one_peer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_STREAMS_PER_PEER", 30)
    monkeypatch.setattr(quota, "REFUSED_ALLOWED", 50.0)
    async with victim_and_peer() as (victim, peer):
        [connection] = peer._connections(victim.peer_id)
        with suppress(BaseLibp2pError), trio.move_on_after(SOON_S):
            for _ in range(200):
                # None of them ever says what it is for.
                await connection.muxed_conn.open_stream()
        assert (await cut_off_by(victim)).reason == "too many streams"
        assert victim.statistics().streams_refused > 0


# Lists, and what the node thinks


async def test_nobody_is_dialled_but_by_this_nodes_own_choice() -> None:
    """Peers say of themselves where they are; py-libp2p would dial them all there whenever somebody
    leaves."""
    [trap] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = f"/ip4/127.0.0.1/tcp/{trap.socket.getsockname()[1]}"
    async with victim_and_peer() as (victim, peer):
        network = victim._host.get_network()  # type: ignore[attr-defined]
        network.peerstore.add_addrs(ID(b"\x00\x24\x08\x01\x12\x20" + bytes(32)), [Multiaddr(address)], 600)
        await peer.disconnect(victim.peer_id)
        with trio.move_on_after(1.0) as waited:
            await trap.accept()
        assert waited.cancelled_caught, "it dialled"
    await trap.aclose()


async def test_who_is_denied_gets_in_by_no_way() -> None:
    async with open_node(1) as peer:
        for denied in (peer.peer_id, "127.0.0.0/8"):
            async with open_node(0, deny=(denied,)) as victim:
                with pytest.raises(NetworkError, match=r"network\.deny"):
                    await victim.dial(peer.addresses()[0])
                with suppress(NetworkError):
                    await peer.dial(victim.addresses()[0])
                await trio.sleep(0.3)
                assert not any(each.connected for each in victim.peers())


async def test_an_allow_list_admits_nobody_else() -> None:
    async with open_node(1) as friend, open_node(2) as stranger, open_node(0, allow=(friend.peer_id,)) as victim:
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
    async with victim_and_peer() as (victim, peer):
        await peer.publish(b"before")
        assert len(await received(victim, 1)) == 1
        victim.judge(peer.peer_id, 0.0, "standing: it lied")
        assert (await cut_off_by(victim)).reason == "standing: it lied"
        await until(lambda: not any(each.connected for each in victim.peers()))
        await peer.publish(b"after")
        await trio.sleep(0.3)
        assert victim.statistics().messages_received == 1


async def test_a_worse_peer_is_a_neighbour_only_while_there_are_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(0) as victim:
        router, members = victim._pubsub.router, []  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:

            async def member(index: int) -> None:
                async with open_node(index) as node:
                    await node.dial(victim.addresses()[0])
                    members.append(node.peer_id)
                    await trio.sleep_forever()

            for index in range(1, 9):
                nursery.start_soon(member, index)
            await until(lambda: len(members) == 8, 20)
            worse = members[:4]
            for peer_id in worse:
                victim.judge(peer_id, 0.5)
            # Everybody asks to be a neighbour, being alone; of more than six the node keeps four.
            for peer_id in members:
                router.mesh[TOPIC].add(ID.from_string(peer_id))
            await until(lambda: len(router.mesh[TOPIC]) <= mesh.DEGREE_HIGH)
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
    async with victim_and_peer(kept_bytes=2 * 2**20, peer_bytes_per_s=64.0 * 2**20) as (victim, peer):
        tracemalloc.start()
        try:
            for _ in range(200):
                await peer.publish(os.urandom(300_000))
                await trio.sleep(0.005)
            await until(lambda: victim.statistics().payload_bytes_received > 5_000_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert victim.statistics().messages_dropped > 0
        # Both ends: two queues, two caches, one inbox, and what is under way.
        assert peak < 40 * 2**20


async def test_who_is_no_ed25519_key_is_not_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that judges and lists peers takes their id for the key that they sign with."""
    async with open_node(0) as victim:
        monkeypatch.setattr(host, "create_new_key_pair", secp256k1.create_new_key_pair)
        async with open_node(1, victim) as other:
            assert other.peer_id.startswith("16Uiu2HA")
            await until(lambda: victim.statistics().handshakes_failed > 0)
            assert victim.peers() == ()
            with pytest.raises(NetworkError):
                await other.request(victim.peer_id, "/test/still", b"?", 10)
        monkeypatch.undo()
        await still_serves(victim)
