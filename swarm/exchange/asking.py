"""Asks one peer for heads and stretches of logs: the other side of answering.py."""

from __future__ import annotations

from protocols.envelope import Envelope
from protocols.limits import MAX_HEADS_BYTES, MAX_LOG_BYTES
from protocols.sync import HEADS_PROTOCOL, LOG_PROTOCOL, Head, HeadsRequest, LogRequest, read_heads, read_log
from swarm.net.network import Network


async def ask_heads(network: Network, peer: str, request: HeadsRequest) -> tuple[Head, ...]:
    """Return one page of a peer's heads. Raises `NetworkError` or `ProtocolError`."""
    answer = await network.request(peer, HEADS_PROTOCOL, request.to_bytes(), MAX_HEADS_BYTES)
    return read_heads(answer, request)


async def ask_log(network: Network, peer: str, request: LogRequest) -> tuple[Envelope, ...]:
    """Return the opened envelopes of one request. Raises `NetworkError` or `ProtocolError`."""
    answer = await network.request(peer, LOG_PROTOCOL, request.to_bytes(), MAX_LOG_BYTES)
    return read_log(answer, request)
