"""What the tests of this room share: a topic, settings for loopback, keys, and waiting for peers and messages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import trio

from swarm.config.schema import NetworkSection
from swarm.net.libp2p.libp2p_network import Libp2pNetwork
from swarm.net.network import Message, Network

TOPIC = "swarmd/test"
CONFIG = NetworkSection(listen=("/ip4/127.0.0.1/tcp/0",), mdns=False, request_timeout_s=3.0)
# A bound only: a test machine may be busy with much else.
SOON_S = 60.0

Join = Callable[..., AbstractAsyncContextManager[Network]]


def seed(index: int) -> bytes:
    """The private key of test node `index`."""
    return bytes([index + 1]) * 32


async def connected(*nodes: Network, count: int | None = None, timeout_s: float = SOON_S) -> None:
    """Wait until every node is connected to `count` peers (default: to all the others), and has a neighbour in the mesh.

    What is published before reaches a later neighbour too, but only for a few heartbeats, which a busy machine may miss.
    """
    wanted = len(nodes) - 1 if count is None else count
    with trio.fail_after(timeout_s):
        while any(sum(peer.connected for peer in node.peers()) < wanted or not _in_mesh(node) for node in nodes):
            await trio.sleep(0.02)


def _in_mesh(node: Network) -> bool:
    return not isinstance(node, Libp2pNetwork) or any(node._pubsub.router.mesh.values())


async def received(node: Network, count: int, timeout_s: float = SOON_S) -> list[Message]:
    """The next `count` messages."""
    messages: list[Message] = []
    with trio.move_on_after(timeout_s):
        while len(messages) < count:
            messages.append(await node.messages.receive())
    return messages
