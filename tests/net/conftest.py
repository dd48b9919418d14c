"""One way to open nodes on either network, so that one set of tests describes both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from swarm.clock import WallClock
from swarm.config.schema import NetworkSection
from swarm.net.libp2p import open_libp2p
from swarm.net.memory import Conditions, MemoryNetwork
from swarm.net.network import Message, Network, Verdict

TOPIC = "swarmd/test"
CONFIG = NetworkSection(listen=("/ip4/127.0.0.1/tcp/0",), mdns=False, request_timeout_s=3.0)

Join = Callable[..., AbstractAsyncContextManager[Network]]


def seed(index: int) -> bytes:
    """The private key of test node `index`."""
    return bytes([index + 1]) * 32


@pytest.fixture(params=["memory", "libp2p"])
def join(request: pytest.FixtureRequest) -> Join:
    """Opens node `index`; the nodes of one test find each other."""
    medium = MemoryNetwork(1, Conditions(latency_s=(0.001, 0.005)))
    running: list[Network] = []

    @asynccontextmanager
    async def opened(
        index: int, *, validate: Callable[[bytes], Verdict] = lambda _: Verdict.ACCEPT, topic: str = TOPIC, **settings: Any
    ) -> AsyncIterator[Network]:
        config = replace(CONFIG, **settings)
        common: dict[str, Any] = {"topic": topic, "validate": validate, "clock": WallClock(), "config": config}
        if request.param == "memory":
            context = medium.join(seed(index), **common)
        else:
            context = open_libp2p(seed(index), bootstrap=running[0].addresses() if running else (), **common)
        async with context as node:
            running.append(node)
            try:
                yield node
            finally:
                running.remove(node)

    return opened


async def connected(*nodes: Network, count: int | None = None, timeout_s: float = 10.0) -> None:
    """Wait until every node is connected to `count` peers (default: to all the others)."""
    wanted = len(nodes) - 1 if count is None else count
    with trio.fail_after(timeout_s):
        while any(sum(peer.connected for peer in node.peers()) < wanted for node in nodes):
            await trio.sleep(0.02)


async def received(node: Network, count: int, timeout_s: float = 10.0) -> list[Message]:
    """The next `count` messages."""
    messages: list[Message] = []
    with trio.move_on_after(timeout_s):
        while len(messages) < count:
            messages.append(await node.messages.receive())
    return messages
