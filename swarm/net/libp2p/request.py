"""Requests over a libp2p stream of their own: one frame there, one back, then it is closed.

A frame is a length (four bytes, big-endian) and the payload. A refused request gets no frame: the
stream is reset.
"""

from __future__ import annotations

import math
import struct

import trio
from libp2p.abc import IHost, INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID

from swarm.errors import NetworkError
from swarm.fair import Places
from swarm.net.guard import Guard
from swarm.net.libp2p.framing import CHUNK_BYTES
from swarm.net.network import Handler
from swarm.net.serving import Services
from swarm.net.tally import Tally

MAX_REQUESTS_PER_PEER = 64  # streams of requests that one peer may have open here


class FrameTooLarge(NetworkError):
    """A frame announces more bytes than are allowed; its payload is not read."""


class Requests:
    """Both sides of requests on one host."""

    def __init__(self, host: IHost, tally: Tally, timeout_s: float, guard: Guard) -> None:
        self._host = host
        self._tally = tally
        self._timeout_s = timeout_s
        self._guard = guard
        self._services = Services(tally, timeout_s, guard)
        self._open: Places[str] = Places(math.inf, MAX_REQUESTS_PER_PEER)

    async def request(self, peer_id: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        """Ask a connected peer and return its answer. Raises `NetworkError`."""
        self._tally["requests"] += 1
        stream: INetStream | None = None
        try:
            with trio.move_on_after(self._timeout_s):
                stream = await self._host.new_stream(ID.from_string(peer_id), [protocol])
                await _write(stream, data)
                answer = await _read(stream, max_bytes)
                await stream.close()
                return answer
        except (BaseLibp2pError, EOFError, ValueError) as error:
            await _abandon(stream)
            raise NetworkError(f"{peer_id} did not answer {protocol}: {error or type(error).__name__}") from error
        except FrameTooLarge as error:
            await _abandon(stream)
            raise NetworkError(f"{peer_id} answered {protocol} with too much: {error}") from error
        except trio.Cancelled:
            await _abandon(stream)
            raise
        await _abandon(stream)
        raise NetworkError(f"{peer_id} did not answer {protocol} within {self._timeout_s:g} s")

    def serve(self, protocol: str, handler: Handler, max_request_bytes: int) -> None:
        """Answer requests of `protocol` with `handler`."""
        self._services.add(protocol, handler, max_request_bytes)

        async def accept(stream: INetStream) -> None:
            await self._accept(stream, protocol)

        self._host.set_stream_handler(protocol, accept)

    async def _accept(self, stream: INetStream, protocol: str) -> None:
        peer_id = str(stream.muxed_conn.peer_id)
        if self._open.full_for(peer_id):
            self._tally["requests_refused"] += 1
            self._guard.refused(peer_id, "requests")
            await _abandon(stream)
            return
        with self._open.taken(peer_id):
            try:
                # Reading, answering and writing have a time limit each: a slow peer cannot hold a
                # place.
                with trio.fail_after(self._timeout_s):
                    request = await _read(stream, self._services.max_request_bytes(protocol))
                answer = await self._services.answer(peer_id, protocol, request)
                with trio.fail_after(self._timeout_s):
                    await _write(stream, answer)
                    await stream.close()
            except FrameTooLarge:
                self._tally["requests_refused"] += 1
                self._guard.invalid(peer_id, "requests, too large")
                await _abandon(stream)
            except (BaseLibp2pError, EOFError, NetworkError, trio.TooSlowError):
                await _abandon(stream)


async def _write(stream: INetStream, data: bytes) -> None:
    await stream.write(struct.pack(">I", len(data)) + data)


async def _read(stream: INetStream, max_bytes: int) -> bytes:
    (size,) = struct.unpack(">I", await _read_exactly(stream, 4))
    if size > max_bytes:
        raise FrameTooLarge(f"{size} bytes are over the limit of {max_bytes}")
    return await _read_exactly(stream, size)


async def _read_exactly(stream: INetStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        # The buffer grows with the bytes that arrive, not with the announced size.
        chunk = await stream.read(min(count - len(data), CHUNK_BYTES))
        if not chunk:
            raise EOFError("the stream ended early")
        data += chunk
    return bytes(data)


async def _abandon(stream: INetStream | None) -> None:
    """Reset a stream, also while this task is being cancelled. A failure to do so is ignored."""
    if stream is None:
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.5):
        try:
            await stream.reset()
        except BaseLibp2pError:
            return
