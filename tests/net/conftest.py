"""One way to open nodes on either network, so that one set of tests describes both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from net_shapes import CONFIG, TOPIC, Heard, Join, open_hearing, seed

from swarm.clock import WallClock
from swarm.net.network import Network, Verdict
from swarm.net.simulated import Conditions, MemoryNetwork


@pytest.fixture(params=["memory", "libp2p"])
def join(request: pytest.FixtureRequest) -> Join:
    """Opens node `index`; the nodes of one test find each other."""
    medium = MemoryNetwork(1, Conditions(latency_s=(0.001, 0.005)))
    running: list[Network] = []

    @asynccontextmanager
    async def opened(
        index: int,
        *,
        validate: Callable[[bytes], Verdict | None] = lambda _: None,
        topic: str = TOPIC,
        **settings: Any,
    ) -> AsyncIterator[Network]:
        heard = Heard(topic, validate)
        if request.param == "memory":
            config = replace(CONFIG, **settings)
            context = heard.at(medium.join(seed(index), heard.subscription, clock=WallClock(), config=config))
        else:
            context = open_hearing(heard, index, running[0].addresses() if running else (), **settings)
        async with context as node:
            running.append(node)
            try:
                yield node
            finally:
                running.remove(node)

    return opened
