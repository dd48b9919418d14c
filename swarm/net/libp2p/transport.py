"""TCP for libp2p, with additions to py-libp2p's own transport.

* Bytes are counted as they enter and leave the process, so Noise, Yamux and gossip are included.
* Reads are buffered. Noise asks for two bytes and then for a frame, each by a system call.
* A port in use is an error. py-libp2p listens with SO_REUSEPORT, so two daemons on one port would
  share its connections.
* An accepted connection's slot is freed when the connection ends. py-libp2p keeps it until the host
  stops, so that a long-running node would refuse everybody.
* Inbound connections pass the gate (`gate.py`), and a peer is read no faster than its quota allows.
* TCP keep-alive notices dead peers. Without it a peer whose machine lost power stays "connected"
  for many minutes. Messages would go to that connection even after the peer's return.
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.tcp.tcp import TCP
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr, multiaddr_from_socket
from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.net.guard import Guard
from swarm.net.libp2p.gate import Gate, surplus
from swarm.net.line import Line
from swarm.net.quota import SMALL_BYTES, Flow
from swarm.net.tally import Tally

READ_BYTES = 65536
KEEPALIVE_IDLE_S = 20  # silence after which the kernel asks whether the peer is still there
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 4
# Errors of accepting that pass when other sockets are closed, and the pause before the next try.
OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
ROOM_AGAIN_S = 0.1

logger = logging.getLogger(__name__)


class CountedStream(TrioTCPStream):  # type: ignore[misc]
    """One TCP connection, which counts its bytes, buffers and paces its reads."""

    def __init__(self, stream: trio.SocketStream, address: str, inbound: bool, transport: CountedTCP) -> None:
        super().__init__(stream)
        self.address = address
        self.inbound = inbound
        self.opened_s = trio.current_time()
        self.peer_id: str | None = None
        self.closed = trio.Event()
        self._all_open = transport.open
        self._all_open.add(self)
        self._tally = transport.tally
        self._guard = transport.guard
        self._line = transport.line
        self._buffer = memoryview(b"")
        self._at_end = False
        _watch_over(stream)

    @property
    def established(self) -> bool:
        """Whether the handshake is over and has shown who is there."""
        return self.peer_id is not None

    def belongs_to(self, peer_id: str) -> None:
        """Charge reads to this peer's quota from now on."""
        self.peer_id = peer_id

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""
        await super().write(data)
        self._tally["wire_bytes_sent"] += len(data)
        # Paid for afterwards: a cancelled wait leaves no half message on the connection.
        await self._line.sent(len(data))

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes, b"" at the end. Raises `ConnectionClosedError` after that."""
        if not self._buffer and n != 0:
            if self._at_end:
                # py-libp2p asks a hundred times for the rest of a frame that ended early.
                raise ConnectionClosedError("the peer has closed the connection", transport="tcp")
            self._buffer = memoryview(await super().read(READ_BYTES))
            self._at_end = not self._buffer
            self._tally["wire_bytes_received"] += len(self._buffer)
            await self._line.received(len(self._buffer))
            if self.peer_id is not None:
                # Not held against the peer: these may be answers to this node's own requests.
                await trio.sleep(self._guard.quota(self.peer_id).wire_bytes.take(len(self._buffer)))
        taken = bytes(self._buffer[:n])
        self._buffer = self._buffer[len(taken) :]
        if self.peer_id is not None and len(taken) < SMALL_BYTES:
            await self._guard.pace(self.peer_id, Flow.FRAMES)
        return taken

    async def close(self) -> None:
        """Close the connection."""
        self.closed.set()
        self._all_open.discard(self)
        await super().close()

    def abort(self) -> None:
        """Close at once, without telling the peer and without waiting."""
        self.closed.set()
        self._all_open.discard(self)
        _reset(self.stream)


def _reset(stream: trio.SocketStream) -> None:
    # Without lingering, so that a refused connection leaves nothing behind in the kernel.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def _watch_over(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        # Keep-alive is silent while data is unacknowledged; this bounds that wait (ms).
        ("TCP_USER_TIMEOUT", 1000 * (KEEPALIVE_IDLE_S + KEEPALIVE_COUNT * KEEPALIVE_INTERVAL_S)),
    )
    for name, value in options:
        if hasattr(socket, name):
            stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class CountedTCP(TCP):  # type: ignore[misc]
    """The transport; its listeners run in `nursery`."""

    def __init__(self, nursery: trio.Nursery, tally: Tally, guard: Guard, gate: Gate, line: Line) -> None:
        super().__init__()
        self.line = line
        self.nursery = nursery
        self.tally = tally
        self.guard = guard
        self.gate = gate
        self.open: set[CountedStream] = set()

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Connect; the address may hold a DNS name. Raises libp2p's `OpenConnectionError`."""
        stream = (await super().dial(maddr)).stream.stream
        return RawConnection(CountedStream(stream, _address(stream), False, self), True)

    def create_listener(self, handler_function: Callable[[CountedStream], Awaitable[None]]) -> Listener:
        """Return a listener that is not listening yet."""
        return Listener(handler_function, self)

    def abort(self) -> None:
        """Close the sockets of connections left open, such as after a cancelled handshake."""
        for connection in self.open:
            connection.stream.socket.close()
        self.open.clear()


def _address(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        # It is closed already.
        return ""


class Listener(IListener):  # type: ignore[misc]
    """Accepts connections on one address."""

    def __init__(self, handler: Callable[[CountedStream], Awaitable[None]], transport: CountedTCP) -> None:
        self._handler = handler
        self._transport = transport
        self._tally = transport.tally
        self._scope = trio.CancelScope()
        self._listeners: Sequence[trio.SocketListener] = ()
        self._bound: tuple[Multiaddr, ...] = ()

    async def listen(self, maddr: Multiaddr) -> None:
        """Bind and begin to accept. Raises `NetworkError`, which names the address."""
        try:
            port = int(maddr.value_for_protocol("tcp") or 0)
            self._listeners = await trio.open_tcp_listeners(port, host=extract_ip_from_multiaddr(maddr))
        except OSError as error:
            raise NetworkError(
                f"cannot listen on {maddr}: {error.strerror or error}; stop what uses it or change network.listen"
            ) from error
        self._bound = tuple(multiaddr_from_socket(listener.socket) for listener in self._listeners)
        self._transport.nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(self._accept_from, listener, nursery)

    async def _accept_from(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Accept connections and let in or refuse each.

        Refusing takes no task of its own: in a flood of connections most are refused.
        """
        gate, all_open = self._transport.gate, self._transport.open
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in OUT_OF_ROOM:
                    raise
                logger.warning("no connection can be accepted for now: %s", error)
                await trio.sleep(ROOM_AGAIN_S)
                continue
            address = _address(stream)
            if reason := gate.refusal(address, all_open):
                logger.debug("refused a connection from %s: %s", address, reason)
                self._tally["connections_refused"] += 1
                _reset(stream)
            else:
                nursery.start_soon(self._accepted, stream, address)

    async def _accepted(self, stream: trio.SocketStream, address: str) -> None:
        transport = self._transport
        async with trio.open_nursery() as nursery:
            connection = CountedStream(stream, address, True, transport)
            while (oldest := surplus(transport.open)) is not None:
                oldest.abort()
            nursery.start_soon(_cancel_when, connection.closed, nursery.cancel_scope)
            try:
                await self._handler(connection)
            except Exception as error:
                self._tally["faults"] += 1
                logger.warning("an inbound connection failed", exc_info=error)
            finally:
                self._tally["handshakes_failed"] += not connection.established
            nursery.cancel_scope.cancel()

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Return the bound addresses, with the real port."""
        return self._bound

    async def close(self) -> None:
        """Stop accepting, and end the accepted connections."""
        self._scope.cancel()
        for listener in self._listeners:
            await listener.aclose()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
