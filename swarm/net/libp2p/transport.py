"""TCP for libp2p, with what py-libp2p's own transport lacks.

* Bytes are counted where they enter and leave the process: everything above (Noise, Yamux, gossip) is included.
* Reads are buffered. Noise asks for two bytes and then for a frame, and each ask was a system call of its own.
* A port in use is an error. py-libp2p listens with SO_REUSEPORT, so that two daemons on one port would share its connections.
* An accepted connection's slot is freed when the connection ends; py-libp2p keeps it until the host stops, so that a node
  that has been up for long would refuse everybody.
* Dead peers are noticed by TCP keep-alive: without it a peer whose machine lost power stays "connected" for many minutes,
  and after it comes back messages still go to the old connection.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr, multiaddr_from_socket
from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.net.inbox import Tally

READ_BYTES = 65536
KEEPALIVE_IDLE_S = 20  # silence after which the kernel asks whether the peer is still there
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 4

logger = logging.getLogger(__name__)


class CountedStream(TrioTCPStream):  # type: ignore[misc]
    """One TCP connection: counts its bytes, buffers its reads, and tells when it is closed."""

    def __init__(self, stream: trio.SocketStream, tally: Tally, all_open: set[CountedStream]) -> None:
        super().__init__(stream)
        self._all_open = all_open
        all_open.add(self)
        self.closed = trio.Event()
        self._tally = tally
        self._buffer = memoryview(b"")
        _watch_over(stream)

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""
        await super().write(data)
        self._tally["wire_bytes_sent"] += len(data)

    async def read(self, n: int | None = None) -> bytes:
        """Up to `n` bytes; none at the end of the stream."""
        if not self._buffer and n != 0:
            self._buffer = memoryview(await super().read(READ_BYTES))
            self._tally["wire_bytes_received"] += len(self._buffer)
        taken = bytes(self._buffer[:n])
        self._buffer = self._buffer[len(taken) :]
        return taken

    async def close(self) -> None:
        """Close the connection."""
        self.closed.set()
        self._all_open.discard(self)
        await super().close()


def _watch_over(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        # Keep-alive is silent while data waits to be acknowledged; this bounds that wait (milliseconds).
        ("TCP_USER_TIMEOUT", 1000 * (KEEPALIVE_IDLE_S + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL_S)),
    )
    for name, value in options:
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class CountedTCP(TCP):  # type: ignore[misc]
    """The transport; its listeners run in `nursery`."""

    def __init__(self, nursery: trio.Nursery, tally: Tally) -> None:
        super().__init__()
        self._nursery = nursery
        self._tally = tally
        self._open: set[CountedStream] = set()

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Connect; the address may name a host by DNS. Raises libp2p's `OpenConnectionError`."""
        connection = await super().dial(maddr)
        return RawConnection(CountedStream(connection.stream.stream, self._tally, self._open), True)

    def create_listener(self, handler_function: Callable[[CountedStream], Awaitable[None]]) -> Listener:
        """A listener that is not listening yet."""
        return Listener(handler_function, self._nursery, self._tally, self._open)

    def abort(self) -> None:
        """Close the sockets of connections that were left open, such as those whose handshake was cancelled."""
        for connection in self._open:
            connection.stream.socket.close()
        self._open.clear()


class Listener(IListener):  # type: ignore[misc]
    """Accepts connections on one address."""

    def __init__(
        self,
        handler: Callable[[CountedStream], Awaitable[None]],
        nursery: trio.Nursery,
        tally: Tally,
        all_open: set[CountedStream],
    ) -> None:
        self._all_open = all_open
        self._handler = handler
        self._nursery = nursery
        self._tally = tally
        self._scope = trio.CancelScope()
        self._listeners: Sequence[trio.SocketListener] = ()
        self._bound: tuple[Multiaddr, ...] = ()

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind and begin to accept. Raises `NetworkError` naming the address."""
        try:
            port = int(maddr.value_for_protocol("tcp") or 0)
            self._listeners = await trio.open_tcp_listeners(port, host=extract_ip_from_multiaddr(maddr))
        except OSError as error:
            raise NetworkError(
                f"cannot listen on {maddr}: {error.strerror or error}; stop what uses it or change network.listen"
            ) from error
        self._bound = tuple(multiaddr_from_socket(listener.socket) for listener in self._listeners)
        self._nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        with self._scope:
            await trio.serve_listeners(self._accepted, self._listeners)

    async def _accepted(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            connection = CountedStream(stream, self._tally, self._all_open)
            nursery.start_soon(_cancel_when, connection.closed, nursery.cancel_scope)
            try:
                await self._handler(connection)
            except Exception as error:
                self._tally["faults"] += 1
                logger.warning("an inbound connection failed", exc_info=error)
            nursery.cancel_scope.cancel()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """The addresses bound, with the real port."""
        return self._bound

    async def close(self) -> None:
        """Stop accepting; connections that were accepted end with it."""
        self._scope.cancel()
        for listener in self._listeners:
            await listener.aclose()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
