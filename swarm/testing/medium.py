"""Whole nodes in a test, as `swarmd start` runs them, on an in-memory network and a virtual clock:

    async def main(medium: Medium) -> None:
        async with medium.node(0, node_rounds=3) as one, medium.node(1, node_rounds=3) as other:
            ...

    on_virtual_time(tmp_path, main)

Both nodes learn once somebody calls their `learn`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from protocols.manifest import Manifest
from swarm.clock import Clock, VirtualClock
from swarm.config.load import load
from swarm.config.manifest_lookup import built_in
from swarm.context import Context
from swarm.events import Event
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.network import Network, Subscription
from swarm.net.simulated import MemoryNetwork
from swarm.node.node import Node
from swarm.node.opening import open_node
from swarm.pool.store.log_table import begin

START_MS = 1_767_225_600_000  # an epoch begins
EMBEDDED = built_in()["embedded"]
# Small rounds; a test's own settings override these.
SETTINGS = {
    "training.local": "2",
    "training.external": "4",
    "generation.num_generations": "4",
    "node.min_round_s": "0",
    "checkpoint.every_rounds": "1000",
    "checkpoint.every_minutes": "0",
    "network.request_timeout_s": "3",
}


@dataclass
class Medium:
    """The surroundings of one test's nodes: their homes below `path`, one clock and one network."""

    path: Path
    clock: Clock
    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(1))

    @asynccontextmanager
    async def node(
        self, number: int, events: list[Event] | None = None, rules: Manifest = EMBEDDED, **settings: object
    ) -> AsyncIterator[Node]:
        """Yield node `number`, with the home of its earlier runs; settings are named section_key,
        as in node_rounds=3."""
        home = Home(self.path / str(number)).create()
        named = {name.replace("_", ".", 1): _as_text(value) for name, value in settings.items()}
        config = load(home.path, {"node.seed": str(number + 1), **SETTINGS, **named}, {})
        key = Ed25519PrivateKey.from_private_bytes(bytes([number + 1]) * 32)
        if not home.pool.exists():
            begin(home.pool, key.public_key().public_bytes_raw())

        def join(subscription: Subscription[Any]) -> AbstractAsyncContextManager[Network]:
            return self.network.join(key.private_bytes_raw(), subscription, clock=self.clock, config=config.network)

        listeners = () if events is None else (events.append,)
        async with open_node(Context(home, Identity(key), config, rules, self.clock, listeners), join) as node:
            yield node


def on_virtual_time(path: Path, main: Callable[[Medium], Awaitable[None]]) -> None:
    """Run `main` on a virtual clock, which leaps ahead whenever all tasks wait."""
    mock = MockClock()
    trio.run(main, Medium(path, VirtualClock(mock, START_MS)), clock=mock)


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
