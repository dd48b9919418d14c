"""The cap on all connections together."""

from __future__ import annotations

from dataclasses import replace

import trio
from trio.testing import MockClock

from swarm.clock import WallClock
from swarm.config.schema import NetworkSection
from swarm.net.libp2p import open_libp2p
from swarm.net.line import Line
from swarm.net.network import deaf


def test_who_goes_over_it_waits() -> None:
    async def main() -> None:
        line, free = Line(1000), Line(0)
        await line.received(1000)
        assert trio.current_time() == 0, "a second's worth may come at once"
        await line.received(2000)
        assert trio.current_time() == 2
        await line.sent(1000)
        assert trio.current_time() == 2, "each way has its own"
        await free.received(10**9)
        await free.sent(10**9)
        assert trio.current_time() == 2

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_capped_node_answers_and_reads_more_slowly() -> None:
    rate, size = 400_000, 800_000
    plain = replace(NetworkSection(), listen=("/ip4/127.0.0.1/tcp/0",), mdns=False, request_timeout_s=30.0)
    capped = replace(plain, max_bytes_per_s=float(rate))
    seconds = []

    async def answer(peer: str, request: bytes) -> bytes:
        return bytes(size) if request == b"send" else b"read"

    def open_node(seed: int, config: NetworkSection):
        return open_libp2p(bytes([seed]) * 32, deaf("t"), clock=WallClock(), config=config)

    async with open_node(1, capped) as slow, open_node(2, plain) as fast:
        slow.serve("/test/1", answer, max_request_bytes=size)
        peer = await fast.dial(slow.addresses()[0])
        for request in (b"send", bytes(size)):
            begun = trio.current_time()
            await fast.request(peer, "/test/1", request, size)
            seconds.append(trio.current_time() - begun)
    assert min(seconds) > 0.8 * (size - rate) / rate, "all but a second's worth came at the rate"
