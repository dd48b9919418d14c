"""What only the real network has: listening, discovery, the address book, hostile bytes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from multiaddr import Multiaddr
from net_shapes import SOON_S, TOPIC, Heard, connected, open_hearing, received

from swarm.errors import NetworkError
from swarm.net import guard, quota
from swarm.net.libp2p import discovery, mesh
from swarm.net.libp2p.addresses import is_loopback, parse
from swarm.net.libp2p.libp2p_network import Libp2pNetwork
from swarm.net.network import Network, Verdict


def _open(
    index: int,
    bootstrap: Sequence[str] = (),
    *,
    topic: str = TOPIC,
    book: Path | None = None,
    valid: bool = True,
    **settings: Any,
) -> AbstractAsyncContextManager[Network]:
    heard = Heard(topic, lambda data: None if valid or not data.startswith(b"bad") else Verdict.REJECT)
    return open_hearing(heard, index, bootstrap, book=book, **settings)


def _port(node: Network) -> int:
    return int(node.addresses()[0].split("/")[4])


# Listening


async def test_port_0_is_reported_as_the_real_one() -> None:
    async with _open(0) as node:
        assert node.addresses() == (f"/ip4/127.0.0.1/tcp/{_port(node)}/p2p/{node.peer_id}",)
        assert _port(node) > 0


async def test_a_wildcard_is_reported_as_the_interfaces() -> None:
    async with _open(0, listen=("/ip4/0.0.0.0/tcp/0",)) as node, _open(1) as other:
        assert not any("0.0.0.0" in address for address in node.addresses())
        assert [is_loopback(address) for address in node.addresses()].count(True) == 1
        for address in node.addresses():
            assert await other.dial(address) == node.peer_id


async def test_announced_addresses_replace_the_real_ones() -> None:
    async with _open(0, announce=("/dns4/example.org/tcp/4711",)) as node:
        assert node.addresses() == (f"/dns4/example.org/tcp/4711/p2p/{node.peer_id}",)


async def test_a_port_in_use_is_one_clear_sentence() -> None:
    async with _open(0) as node:
        address = f"/ip4/127.0.0.1/tcp/{_port(node)}"
        with pytest.raises(NetworkError, match=rf"^cannot listen on {address}: Address already in use; .*network\.listen$"):
            async with _open(1, listen=(address,)):
                pass
    # And it is free again afterwards.
    async with _open(1, listen=(address,)) as node:
        assert node.addresses()[0].startswith(address)


@pytest.mark.parametrize("address", ["nonsense", "/ip4/127.0.0.1/udp/0", "/ip4/300.0.0.1/tcp/0", "/ip4/127.0.0.1"])
async def test_an_address_that_cannot_be_listened_on_is_an_error(address: str) -> None:
    with pytest.raises(NetworkError, match="listen"):
        async with _open(0, listen=(address,)):
            pass


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3Koo",
        "/ip4/0.0.0.0/tcp/1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5",
    ],
)
async def test_an_address_that_cannot_be_dialled_is_an_error(address: str) -> None:
    with pytest.raises(NetworkError):
        parse(address)
    async with _open(0) as node:
        with pytest.raises(NetworkError):
            await node.dial(address)
    with pytest.raises(NetworkError):
        async with _open(0, [address]):
            pass


async def test_another_key_at_the_address_is_not_the_peer() -> None:
    async with _open(0) as one, _open(1) as two, _open(2) as three:
        forged = one.addresses()[0].replace(one.peer_id, two.peer_id)
        with pytest.raises(NetworkError, match="cannot be reached"):
            await three.dial(forged)
        assert not any(peer.connected for peer in three.peers())


# Discovery


async def test_one_address_is_enough_for_all_and_its_owner_may_die() -> None:
    async def live(died: trio.Event, *, task_status: trio.TaskStatus[Network]) -> None:
        async with _open(0) as first:
            task_status.started(first)
            await died.wait()

    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        died = trio.Event()
        first = await nursery.start(live, died)
        nodes = [await stack.enter_async_context(_open(index, first.addresses())) for index in range(1, 5)]
        await connected(first, *nodes)
        died.set()
        await connected(*nodes)
        late = await stack.enter_async_context(_open(5, nodes[2].addresses()))
        await connected(*nodes, late)
        for node in (*nodes, late):
            await node.publish(node.peer_id.encode())
        for node in (*nodes, late):
            assert len(await received(node, 4)) == 4


async def test_a_node_that_started_alone_joins_when_its_bootstrap_appears(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with _open(0) as probe:
        address = f"/ip4/127.0.0.1/tcp/{port}/p2p/{probe.peer_id}"
    async with _open(1, [address]) as node:
        await trio.sleep(1.0)
        assert [peer.connected for peer in node.peers()] == [False]
        async with _open(0, listen=(f"/ip4/127.0.0.1/tcp/{port}",)) as late:
            await connected(node, late)


async def test_the_address_book_outlives_the_node(tmp_path: Path) -> None:
    book = tmp_path / "address_book.json"
    async with _open(0) as one, _open(1) as two:
        await two.dial(one.addresses()[0])
        async with _open(2, one.addresses(), book=book) as node:
            await connected(one, two, node)
            # Of whoever dialled this node, the exchange tells the address a moment later.
            with trio.fail_after(SOON_S):
                while not all(peer.addresses for peer in node.peers()):
                    await trio.sleep(0.02)
        assert {peer["peer_id"] for peer in json.loads(book.read_text())["peers"]} == {one.peer_id, two.peer_id}
        async with _open(2, book=book) as node:
            await connected(one, two, node)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b'{"peers": [3]}', b'{"peers": [{"addresses": ["x"]}]}'])
async def test_a_damaged_address_book_starts_empty(tmp_path: Path, content: bytes) -> None:
    book = tmp_path / "address_book.json"
    book.write_bytes(content)
    async with _open(0, book=book) as one, _open(1) as two:
        assert one.peers() == ()
        await one.dial(two.addresses()[0])
    assert len(json.loads(book.read_text())["peers"]) == 1


async def test_an_unwritable_address_book_is_no_reason_to_stop(tmp_path: Path) -> None:
    async with _open(0, book=tmp_path / "missing" / "address_book.json") as one, _open(1, one.addresses()) as two:
        await connected(one, two)


async def test_peers_of_another_swarm_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _open(0) as one, _open(1, topic="swarmd/other") as stranger, _open(2, one.addresses()) as friend:
        await connected(one, friend)
        # Only now: a friend on a busy machine needs a while to show itself too.
        monkeypatch.setattr(discovery, "STRANGER_S", 0.5)
        await stranger.dial(one.addresses()[0])
        with trio.fail_after(SOON_S):
            while {peer.peer_id for peer in one.peers() if peer.connected} != {friend.peer_id}:
                await trio.sleep(0.02)
            while any(peer.connected for peer in stranger.peers()):
                await trio.sleep(0.02)
        # Nor did the friend hear of it.
        assert stranger.peer_id not in {peer.peer_id for peer in friend.peers()}


async def test_connections_are_limited_and_their_slots_come_back() -> None:
    async with _open(0, max_connections=2) as one:
        async with _open(1) as two, _open(2) as three:
            await two.dial(one.addresses()[0])
            await three.dial(one.addresses()[0])
            async with _open(3, request_timeout_s=1.0) as four:
                with trio.move_on_after(1), pytest.raises(NetworkError):
                    await four.dial(one.addresses()[0])
                await trio.sleep(0.5)
                assert one.statistics().connections == 2
        for index in range(1, 6):
            async with _open(index) as other:
                await other.dial(one.addresses()[0])
                await connected(one, other, count=1)


# Hostile bytes


def _host(node: Network) -> Any:
    assert isinstance(node, Libp2pNetwork)
    return node._host


@pytest.mark.parametrize(
    "protocol",
    ["/meshsub/1.1.0", discovery.PEERS_PROTOCOL, "/test/echo", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"],
)
async def test_random_bytes_on_a_stream_do_no_harm(protocol: str) -> None:
    async def echo(peer: str, request: bytes) -> bytes:
        return request

    async with _open(0) as one, _open(1) as two:
        one.serve("/test/echo", echo)
        await two.dial(one.addresses()[0])
        await connected(one, two)
        for number in range(12):
            data = os.urandom(2 ** (number + 2)) if number % 2 else b"\x00\x00\x00" + os.urandom(60)
            with trio.move_on_after(1):
                stream = await _host(two).new_stream(ID.from_string(one.peer_id), [protocol])
                try:
                    await stream.write(data)
                finally:
                    await stream.close()
        async with _open(2, one.addresses()) as three:
            await connected(one, three, count=1)
            await three.publish(b"still here")
            assert [message.data for message in await received(one, 1)] == [b"still here"]
            assert await three.request(one.peer_id, "/test/echo", b"?", 10) == b"?"
        assert one.statistics().messages_received == 1


async def test_random_bytes_on_the_port_do_no_harm() -> None:
    async with _open(0) as one:
        for size in (0, 1, 100, 100_000):
            stream = await trio.open_tcp_stream("127.0.0.1", _port(one))
            with trio.move_on_after(0.2):
                await stream.send_all(b"\x13/multistream/1.0.0\n" + os.urandom(size))
                await stream.receive_some()
            await stream.aclose()
        async with _open(1, one.addresses()) as two:
            await connected(one, two)


async def test_who_forwards_invalid_messages_is_cut_off_and_listed() -> None:
    async with _open(0, valid=False) as one, _open(1, one.addresses()) as two, _open(2, one.addresses(), valid=False) as three:
        await connected(one, two, three)
        await trio.sleep(0.5)
        for number in range(int(quota.INVALID_ALLOWED)):
            await two.publish(b"bad %d" % number)
        with trio.fail_after(SOON_S):
            while not one.cut_off():
                await trio.sleep(0.05)
        assert one.statistics().rejected == quota.INVALID_ALLOWED
        [cut] = one.cut_off()
        assert (cut.peer_id, cut.address, cut.reason) == (two.peer_id, "127.0.0.1", "invalid: messages")
        assert cut.until_ms - cut.since_ms == 600_000
        # It comes back, and is not spoken to.
        with trio.move_on_after(3), suppress(NetworkError):
            await two.dial(one.addresses()[0])
        await trio.sleep(1)
        assert two.peer_id not in {peer.peer_id for peer in one.peers() if peer.connected}
        await two.publish(b"bad again")
        await trio.sleep(0.5)
        assert one.statistics().rejected == quota.INVALID_ALLOWED
        await one.publish(b"good")
        assert [message.data for message in await received(three, 1)] == [b"good"]


async def test_a_flood_is_slowed_down_and_silences_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "OUTGOING_QUEUE", 50)
    monkeypatch.setattr(guard, "CUT_AFTER_S", 1000.0)
    async with (
        _open(0, peer_messages_per_s=20.0) as one,
        _open(1, one.addresses()) as flooder,
        _open(2, one.addresses()) as three,
    ):
        await connected(one, flooder, three)
        await trio.sleep(0.5)

        async def flood() -> None:
            while True:
                await flooder.publish(os.urandom(500))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            # It waits at its sender until the sender's own queue is full.
            with trio.fail_after(SOON_S):
                while flooder.statistics().sends_dropped == 0:
                    await trio.sleep(0.05)
            before = one.statistics().messages_received
            await three.publish(b"still here")
            with trio.fail_after(20):
                while (await one.messages.receive()).data != b"still here":
                    pass
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        # Two forwarders, each at its rate, and what may come at once.
        assert one.statistics().messages_received - before < 300
        assert not one.cut_off()


async def test_an_insecure_connection_is_refused() -> None:

    key_pair = create_new_key_pair()
    plain = new_host(key_pair=key_pair, sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)})
    async with _open(0) as one, plain.run([]):
        with trio.move_on_after(5), pytest.raises(BaseLibp2pError):
            await plain.connect(info_from_p2p_addr(Multiaddr(one.addresses()[0])))
        assert one.statistics().connections == 0


async def test_neighbours_find_each_other_by_multicast() -> None:
    async with (
        _open(0, mdns=True, listen=("/ip4/0.0.0.0/tcp/0",)) as one,
        _open(1, mdns=True, listen=("/ip4/0.0.0.0/tcp/0",)) as two,
        _open(2, mdns=True, listen=("/ip4/0.0.0.0/tcp/0",), topic="swarmd/other") as stranger,
    ):
        try:
            await connected(one, two, count=1)
        except trio.TooSlowError:
            pytest.skip("no multicast on this machine")
        assert stranger.peers() == ()


# Faults inside


async def test_a_fault_in_a_background_task_is_counted_and_ends_nothing_else() -> None:
    async def faulty(stream: object) -> None:
        raise KeyError("a bug in a protocol handler")

    async with _open(0) as one, _open(1, one.addresses()) as two:
        await connected(one, two)
        _host(one).set_stream_handler("/test/faulty", faulty)
        await _host(two).new_stream(ID.from_string(one.peer_id), ["/test/faulty"])
        with trio.fail_after(SOON_S):
            while not one.statistics().faults:
                await trio.sleep(0.02)
        assert one.statistics().faults == 1
        await two.publish(b"still here")
        assert [message.data for message in await received(one, 1)] == [b"still here"]


async def test_a_broken_main_loop_ends_the_network_with_an_error() -> None:
    def broken() -> None:
        raise KeyError("a bug in the router")

    async def live() -> None:
        async with _open(0) as node:
            assert isinstance(node, Libp2pNetwork)
            node._pubsub.router.mesh_heartbeat = broken
            await trio.sleep_forever()

    with trio.fail_after(SOON_S), pytest.raises(NetworkError, match="must be opened again"):
        await live()
