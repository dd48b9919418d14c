"""Shapes for this room: a topic, settings for loopback, keys, and waits for peers and messages."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from swarm.clock import WallClock
from swarm.config.schema import NetworkSection
from swarm.net.libp2p import open_libp2p
from swarm.net.libp2p.libp2p_network import Libp2pNetwork
from swarm.net.network import Message, Network, Subscription, Verdict

TOPIC = "swarmd/test"
CONFIG = NetworkSection(listen=("/ip4/127.0.0.1/tcp/0",), mdns=False, request_timeout_s=3.0)
# A bound only: a test machine may be busy with much else.
SOON_S = 60.0

Join = Callable[..., AbstractAsyncContextManager[Network]]


class Heard:
    """What a node hears of a topic, kept for the test; `validate` says why a message is dropped,
    None where it is not.

    With `max_bytes` the oldest messages give way, as they do in a node; the test then reads none.
    """

    def __init__(
        self,
        topic: str = TOPIC,
        validate: Callable[[bytes], Verdict | None] = lambda data: None,
        max_bytes: float = math.inf,
    ) -> None:
        self._bytes, self._max_bytes = 0, max_bytes
        self._send, self.messages = trio.open_memory_channel[Message[bytes]](math.inf)
        self.subscription = Subscription(topic, lambda data: validate(data) or data, self._take)

    def _take(self, message: Message[bytes]) -> int:
        self._send.send_nowait(message)
        self._bytes += len(message.data)
        dropped = 0
        while self._bytes > self._max_bytes:
            self._bytes -= len(self.messages.receive_nowait().data)
            dropped += 1
        return dropped

    @asynccontextmanager
    async def at(self, opened: AbstractAsyncContextManager[Network]) -> AsyncIterator[Any]:
        """The network, with what it heard as its `messages`."""
        async with opened as network:
            network.messages = self.messages  # type: ignore[attr-defined]
            yield network


def seed(index: int) -> bytes:
    """The private key of test node `index`."""
    return bytes([index + 1]) * 32


def open_hearing(
    heard: Heard, index: int, bootstrap: Sequence[str], *, book: Path | None = None, **settings: Any
) -> AbstractAsyncContextManager[Network]:
    """A libp2p node that subscribes as `heard` does."""
    config = replace(CONFIG, **settings)
    return heard.at(
        open_libp2p(seed(index), heard.subscription, clock=WallClock(), config=config, bootstrap=bootstrap, address_book=book)
    )


async def connected(*nodes: Network, count: int | None = None, timeout_s: float = SOON_S) -> None:
    """Wait until every node is connected to `count` peers (default: to all the others), and has a
    neighbour in the mesh.

    What is published before reaches a later neighbour too, but only for a few heartbeats, which a
    busy machine may miss.
    """
    wanted = len(nodes) - 1 if count is None else count
    with trio.fail_after(timeout_s):
        while any(sum(peer.connected for peer in node.peers()) < wanted or not _in_mesh(node) for node in nodes):
            await trio.sleep(0.02)


def _in_mesh(node: Network) -> bool:
    return not isinstance(node, Libp2pNetwork) or any(node._pubsub.router.mesh.values())


async def received(node: Any, count: int, timeout_s: float = SOON_S) -> list[Message]:
    """The next `count` messages."""
    messages: list[Message] = []
    with trio.move_on_after(timeout_s):
        while len(messages) < count:
            messages.append(await node.messages.receive())
    return messages
