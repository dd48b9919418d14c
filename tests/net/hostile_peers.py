"""An honest node and a peer about to misbehave, for the tests of the network's bounds."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio
from libp2p.peer.id import ID
from net_shapes import SOON_S, Heard, connected, open_hearing

from swarm.net.network import CutOff, Network, Verdict

GOSSIP = "/meshsub/1.1.0"


def _verdict(data: bytes) -> Verdict | None:
    return {b"bad": Verdict.REJECT, b"odd": Verdict.IGNORE}.get(data[:3])


def open_node(
    index: int, *bootstrap: Network, kept_bytes: float = math.inf, **settings: Any
) -> AbstractAsyncContextManager[Network]:
    heard = Heard(validate=_verdict, max_bytes=kept_bytes)
    return open_hearing(heard, index, [address for node in bootstrap for address in node.addresses()], **settings)


@asynccontextmanager
async def victim_and_peer(**settings: Any) -> AsyncIterator[tuple[Network, Any]]:
    """An honest node with these settings, and a peer of it that is about to misbehave."""
    async with open_node(0, **settings) as victim, open_node(1, victim) as peer:
        await connected(victim, peer)
        yield victim, peer


async def stream_to(peer: Any, victim: Network, protocol: str) -> Any:
    return await peer._host.new_stream(ID.from_string(victim.peer_id), [protocol])


async def cut_off_by(victim: Network, timeout_s: float = SOON_S) -> CutOff:
    with trio.fail_after(timeout_s):
        while not victim.cut_off():
            await trio.sleep(0.02)
    [cut] = victim.cut_off()
    return cut


async def until(true: Callable[[], bool], timeout_s: float = SOON_S) -> None:
    with trio.fail_after(timeout_s):
        while not true():
            await trio.sleep(0.02)


async def drip(write: Callable[[bytes], Awaitable[None]], pause_s: float) -> None:
    """One byte at a time, for ever: the beginning of a handshake, or the inside of a frame."""
    for byte in b"\x13/multistream/1.0.0\n\x07/noise\n" * 1000:
        await write(bytes([byte]))
        await trio.sleep(pause_s)


async def still_serves(victim: Network) -> None:
    """An honest newcomer connects, is heard and is answered."""

    async def echo(peer: str, request: bytes) -> bytes:
        return request

    victim.serve("/test/still", echo)
    async with open_node(9, victim) as honest:
        await connected(honest, count=1)
        await honest.publish(b"still here")
        with trio.fail_after(SOON_S):
            while (await victim.messages.receive()).data != b"still here":
                pass
        assert await honest.request(victim.peer_id, "/test/still", b"?", 10) == b"?"
