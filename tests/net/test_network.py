"""What a node may expect of any network; each test runs on both."""

from __future__ import annotations

import hashlib
import os
from contextlib import AsyncExitStack

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from net_shapes import SOON_S, TOPIC, Heard, Join, connected, received, seed
from trio.testing import MockClock

from protocols.peer_id import peer_id
from swarm.clock import VirtualClock
from swarm.errors import NetworkError
from swarm.net.network import MAX_MESSAGE_BYTES, Network, Subscription, Verdict
from swarm.net.simulated import MemoryNetwork


async def test_the_peer_id_is_the_one_of_the_wire_contract(join: Join) -> None:
    public = Ed25519PrivateKey.from_private_bytes(seed(0)).public_key().public_bytes_raw()
    async with join(0) as node:
        assert node.peer_id == peer_id(public)
        assert all(address.endswith(f"/p2p/{node.peer_id}") for address in node.addresses())
        assert node.addresses()


async def test_a_message_reaches_everybody_else_once(join: Join) -> None:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(join(index)) for index in range(5)]
        await connected(*nodes)
        for node in nodes:
            await node.publish(node.peer_id.encode())
        for node in nodes:
            others = {other.peer_id.encode() for other in nodes} - {node.peer_id.encode()}
            assert {message.data for message in await received(node, 4)} == others
        await trio.sleep(1.2)  # a heartbeat, so that gossip has advertised all of it again
        for node in nodes:
            with pytest.raises(trio.WouldBlock):
                node.messages.receive_nowait()
            assert node.statistics().messages_received == 4
            assert node.statistics().messages_sent == 1


async def test_a_message_says_who_forwarded_it(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        await connected(one, two)
        await one.publish(b"hello")
        (message,) = await received(two, 1)
        assert message.peer == one.peer_id
        assert message.opened == message.data == b"hello"


async def test_a_burst_of_200_arrives_whole(join: Join) -> None:
    async with join(0) as one, join(1) as two, join(2) as three:
        await connected(one, two, three)
        burst = {b"%d" % number + os.urandom(1000) for number in range(200)}
        for data in burst:
            await one.publish(data)
        for node in (two, three):
            assert {message.data for message in await received(node, 200)} == burst
        assert one.statistics().sends_dropped == 0


@pytest.mark.parametrize("size", [100_000, 700_000])
async def test_large_messages_arrive(join: Join, size: int) -> None:
    data = os.urandom(size)
    async with join(0) as one, join(1) as two:
        await connected(one, two)
        await one.publish(data)
        assert [hashlib.sha256(message.data).digest() for message in await received(two, 1)] == [hashlib.sha256(data).digest()]
        sent, got = one.statistics(), two.statistics()
        assert sent.payload_bytes_sent == got.payload_bytes_received == size
        assert size < sent.wire_bytes_sent < 1.2 * size + 20_000
        assert size < got.wire_bytes_received < 1.2 * size + 20_000


async def test_a_message_over_the_limit_is_refused_at_once(join: Join) -> None:
    async with join(0) as node:
        with pytest.raises(NetworkError, match="over the limit"):
            await node.publish(bytes(MAX_MESSAGE_BYTES + 1))
        assert node.statistics().messages_sent == 0


async def test_nobody_else_on_the_topic_is_no_error(join: Join) -> None:
    async with join(0) as node:
        await node.publish(b"into the void")
        assert node.peers() == ()


async def test_other_topics_are_not_heard(join: Join) -> None:
    async with join(0) as one, join(1) as two, join(2, topic="swarmd/other") as stranger:
        await connected(one, two)
        await one.publish(b"ours")
        await stranger.publish(b"theirs")
        assert [message.data for message in await received(two, 1)] == [b"ours"]
        await trio.sleep(0.3)
        assert stranger.statistics().messages_received == 0
        assert two.statistics().messages_received == 1


async def test_a_rejected_message_is_neither_delivered_nor_forwarded(join: Join) -> None:
    seen: list[bytes] = []

    def validate(data: bytes) -> Verdict | None:
        seen.append(data)
        return {b"bad": Verdict.REJECT, b"odd": Verdict.IGNORE}.get(data[:3])

    async with join(0) as one, join(1, validate=validate) as two:
        await connected(one, two)
        async with join(2, validate=validate) as three:
            await connected(one, two, three)
            for data in (b"bad", b"odd", b"good"):
                await one.publish(data)
            for node in (two, three):
                assert [message.data for message in await received(node, 1)] == [b"good"]
            await trio.sleep(1.5)
            for node in (two, three):
                statistics = node.statistics()
                assert (statistics.rejected, statistics.ignored, statistics.messages_received) == (1, 1, 1)
            # Once per node: nobody passed it on, and its return by gossip is a duplicate.
            assert sorted(seen) == sorted([b"bad", b"odd", b"good"] * 2)


async def test_what_is_dropped_for_want_of_room_is_counted(autojump_clock: MockClock) -> None:
    medium, clock = MemoryNetwork(1), VirtualClock(autojump_clock, 0)
    full: Subscription[bytes] = Subscription(TOPIC, lambda data: data, lambda message: 2)
    async with medium.join(seed(0), Heard().subscription, clock=clock) as one, medium.join(seed(1), full, clock=clock) as two:
        for number in range(20):
            await one.publish(b"%02d" % number)
        await trio.sleep(5)
        assert (two.statistics().messages_received, two.statistics().messages_dropped) == (20, 40)


async def test_a_message_published_twice_is_delivered_once(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        await connected(one, two)
        await one.publish(b"again")
        await one.publish(b"again")
        assert len(await received(two, 2, timeout_s=1.0)) == 1
        assert two.statistics().duplicates <= 1


# Requests


async def _echo(peer: str, request: bytes) -> bytes:
    return peer.encode() + request


async def test_a_request_is_answered(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        one.serve("/test/echo", _echo)
        await connected(one, two)
        assert await two.request(one.peer_id, "/test/echo", b"?", 1000) == two.peer_id.encode() + b"?"
        assert await two.request(one.peer_id, "/test/echo", b"", 1000) == two.peer_id.encode()
        assert two.statistics().requests >= 2
        assert one.statistics().requests_served >= 2


async def test_four_megabytes_come_back(join: Join) -> None:
    body = os.urandom(4 * 2**20)

    async def serve(peer: str, request: bytes) -> bytes:
        return body

    async with join(0) as one, join(1) as two:
        one.serve("/test/body", serve)
        await connected(one, two)
        assert await two.request(one.peer_id, "/test/body", b"", len(body)) == body
        with pytest.raises(NetworkError, match=r"too much|more than"):
            await two.request(one.peer_id, "/test/body", b"", len(body) - 1)
        # The refused answer left nothing behind on the connection.
        assert await two.request(one.peer_id, "/test/body", b"", len(body)) == body


async def test_many_requests_at_once_are_answered(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        one.serve("/test/echo", _echo)
        await connected(one, two)
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            answers.append(await two.request(one.peer_id, "/test/echo", b"%d" % number, 1000))

        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(ask, number)
        assert sorted(answers) == sorted(two.peer_id.encode() + b"%d" % number for number in range(16))


async def test_bad_requests_are_refused_and_cost_nothing_else(join: Join) -> None:
    async def broken(peer: str, request: bytes) -> bytes:
        raise ValueError("a bug, or a peer's odd bytes")

    async with join(0) as one, join(1) as two:
        one.serve("/test/echo", _echo, max_request_bytes=100)
        one.serve("/test/broken", broken)
        await connected(one, two)
        for protocol, data in (("/test/echo", bytes(101)), ("/test/broken", b""), ("/test/unknown", b"")):
            with pytest.raises(NetworkError, match=protocol):
                await two.request(one.peer_id, protocol, data, 1000)
        assert one.statistics().requests_refused >= 2
        assert await two.request(one.peer_id, "/test/echo", b"still here", 1000) == two.peer_id.encode() + b"still here"


async def test_a_slow_handler_is_given_up_on_by_both_sides(join: Join) -> None:
    ended: list[str] = []

    async def slow(peer: str, request: bytes) -> bytes:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(peer)
        return b""

    async with join(0, request_timeout_s=0.3) as one, join(1, request_timeout_s=0.5) as two:
        one.serve("/test/slow", slow)
        await connected(one, two)
        with trio.fail_after(SOON_S), pytest.raises(NetworkError):
            await two.request(one.peer_id, "/test/slow", b"", 1000)
        with trio.fail_after(SOON_S):
            while not ended:
                await trio.sleep(0.02)
        assert ended == [two.peer_id]


async def test_a_request_to_somebody_unknown_fails(join: Join) -> None:
    async with join(0) as one:
        with trio.fail_after(SOON_S), pytest.raises(NetworkError):
            await one.request(peer_id(bytes(32)), "/test/echo", b"", 1000)


# Coming and going


async def test_dial_names_the_peer_or_says_that_nobody_answers(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        assert await two.dial(one.addresses()[0]) == one.peer_id
        await connected(one, two)
        assert await two.dial(one.addresses()[0]) == one.peer_id
        address = one.addresses()[0]
    async with join(1, request_timeout_s=1.0) as two:
        with trio.fail_after(SOON_S), pytest.raises(NetworkError):
            await two.dial(address)


async def test_who_left_is_gone_and_who_comes_late_is_heard(join: Join) -> None:
    async with join(0) as one, join(1) as two:
        async with join(2) as three:
            await connected(one, two, three)
        with trio.fail_after(SOON_S):
            while any(peer.peer_id == three.peer_id and peer.connected for peer in (*one.peers(), *two.peers())):
                await trio.sleep(0.02)
        async with join(3) as late:
            await connected(one, two, late)
            await late.publish(b"here I am")
            for node in (one, two):
                assert [message.data for message in await received(node, 1)] == [b"here I am"]


async def test_a_node_that_comes_back_with_its_identity_is_heard(join: Join) -> None:
    """py-libp2p numbers messages from the clock's seconds, and took a quick publisher that
    restarted for its own echo."""

    async def publish(node: Network, label: bytes) -> None:
        for number in range(100):
            await node.publish(label + b"%d" % number)

    async with join(0) as one, join(1) as two:
        for label in (b"first ", b"second "):
            async with join(2) as quick:
                await connected(one, two, quick)
                await publish(quick, label)
                for node in (one, two):
                    assert {m.data for m in await received(node, 100)} == {label + b"%d" % number for number in range(100)}


async def test_nothing_is_heard_any_more_when_the_network_has_closed(join: Join) -> None:
    async with join(0) as one:
        async with join(1) as two:
            await connected(one, two)
            messages = two.messages
        await one.publish(b"too late")
        await trio.sleep(1.5)
    with pytest.raises(trio.WouldBlock):
        messages.receive_nowait()


async def test_an_error_inside_leaves_the_context_as_itself(join: Join) -> None:
    with pytest.raises(NetworkError, match="mine"):
        async with join(0, topic=TOPIC):
            raise NetworkError("mine")


async def test_closing_is_quick_and_cancellable(join: Join) -> None:
    async with join(0) as one:
        with trio.fail_after(20):
            with trio.CancelScope() as scope:
                async with join(1) as two:
                    await connected(one, two)
                    scope.cancel()
                    await trio.sleep_forever()
            async with join(1) as two:
                await connected(one, two)
