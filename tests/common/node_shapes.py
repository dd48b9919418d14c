"""Nodes on an in-memory network and a virtual clock, as the tests of node and simulation open them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope
from protocols.manifest import Manifest
from protocols.messages import Kind, Share, unpack_body
from swarm.clock import Clock, VirtualClock
from swarm.config.load import load
from swarm.config.manifest_lookup import built_in
from swarm.context import Context
from swarm.events import Event, RoundFinished
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.simulated import MemoryNetwork
from swarm.node.node import Node
from swarm.node.opening import open_node
from swarm.pool.store.logs import begin

START_MS = 1_767_225_600_000
EMBEDDED = built_in()["embedded"]
SETTINGS = {
    "training.local": "2",
    "training.external": "4",
    "generation.num_generations": "4",
    "checkpoint.every_rounds": "1000",
    "network.request_timeout_s": "3",
}


@dataclass
class Medium:
    """Where the nodes of one test live."""

    path: Path
    clock: Clock
    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(1))

    @asynccontextmanager
    async def node(
        self, number: int, events: list[Event] | None = None, rules: Manifest = EMBEDDED, **settings: object
    ) -> AsyncIterator[Node]:
        """Node `number`, whose home it finds again; settings are named section_key, as in node_rounds=3."""
        home = Home(self.path / str(number)).create()
        named = {name.replace("_", ".", 1): _as_text(value) for name, value in settings.items()}
        config = load(home.path, {"node.seed": str(number + 1), **SETTINGS, **named}, {})
        key = Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)

        if not home.pool.exists():
            begin(home.pool, key.public_key().public_bytes_raw())

        def join(subscription):
            return self.network.join(key.private_bytes_raw(), subscription, clock=self.clock, config=config.network)

        listeners = () if events is None else (events.append,)
        async with open_node(Context(home, Identity(key), config, rules, self.clock, listeners), join) as node:
            yield node


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def on_virtual_time(path: Path, main: Callable[[Medium], Awaitable[None]]) -> None:
    """Run `main` on a virtual clock."""
    mock = MockClock()
    trio.run(main, Medium(path, VirtualClock(mock, START_MS)), clock=mock)


def finished(events: list[Event]) -> list[RoundFinished]:
    return [event for event in events if isinstance(event, RoundFinished)]


async def checked_log(node: Node) -> list[tuple[Envelope, Share]]:
    """The node's own log, which must be contiguous and chained, with index ranges that join."""
    entries = await node.pool.run(lambda store: list(store.own_log()))
    previous, expected, epoch, log = NO_PREVIOUS, 0, None, []
    for sequence, entry in enumerate(entries):
        envelope = open_envelope(entry.envelope, node.context.manifest.id)
        share = unpack_body(Kind.SHARE, entry.body if entry.body is not None else envelope.body)
        assert isinstance(share, Share)
        assert (envelope.sequence, envelope.previous) == (sequence, previous)
        assert share.first_index == (expected if share.epoch == epoch else 0)
        previous, expected, epoch = envelope.id, share.first_index + share.count, share.epoch
        log.append((envelope, share))
    return log
