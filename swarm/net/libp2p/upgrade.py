"""Upgrades a TCP connection to streams, in both directions: Noise, the guard, then a bounded Yamux.

Gaps of py-libp2p's Yamux that are closed here:

* It reads everything as fast as it comes. Here every small read is paid for from the peer's quota,
  as all bytes are in `transport.py`. A flood of anything, pings and data for no stream included,
  waits in the peer's own socket.
* A peer that ignores flow control fills the buffers of unread streams without end, and the window
  of a fast stream grows to 16 MiB. Here a connection may have `MAX_BUFFERED_BYTES` unread, and
  windows stay below that.
* A peer that sends half a frame and no more stays connected without end. Here it must answer pings,
  which are whole frames.
"""

from __future__ import annotations

import struct
from typing import Any

import trio
from libp2p.abc import IMuxedConn, IRawConnection, ISecureConn
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.exceptions import MuxerUpgradeFailure, SecurityUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

from protocols.peer_id import public_key
from protocols.reasons import ProtocolError
from swarm.net.guard import Guard
from swarm.net.quota import SMALL_BYTES, Flow

MAX_BUFFERED_BYTES = 4 * 2**20  # per connection, over all its streams
yamux.MAX_WINDOW_SIZE = 2**20  # bytes of one stream; also the largest frame
PING_EVERY_S = 30.0
PONG_WITHIN_S = 30.0
PINGS_MISSED = 2  # in a row: after a stop of this node itself, the second ping is answered


class Upgrader(TransportUpgrader):  # type: ignore[misc]
    """Makes connections of `CountedStream`s."""

    def __init__(self, security: Any, muxers: Any, guard: Guard) -> None:
        super().__init__(security, muxers)
        self._guard = guard

    async def upgrade_security(self, raw_conn: IRawConnection, is_initiator: bool, peer_id: ID | None = None) -> ISecureConn:
        """Shake hands, which proves the peer id.

        Raises `SecurityUpgradeFailure`, also for a peer that the guard refuses.
        """
        conn = await super().upgrade_security(raw_conn, is_initiator, peer_id)
        stream, peer = raw_conn.stream, str(conn.get_remote_peer())
        if reason := self._guard.refusal(peer, stream.address) or _no_key(peer):
            await conn.close()
            raise SecurityUpgradeFailure(reason)
        self._guard.quotas.met(peer, stream.address)
        stream.belongs_to(peer)
        return conn

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """Agree on Yamux. Raises `MuxerUpgradeFailure`."""
        try:
            await self.muxer_multistream.select_transport(conn)
        except (MultiselectError, MultiselectClientError) as error:
            raise MuxerUpgradeFailure("failed to negotiate the multiplexer protocol") from error
        return BoundedYamux(conn, peer_id, self._guard)


def _no_key(peer_id: str) -> str | None:
    """Return why a peer id holds no Ed25519 key, or None; its owner must sign with that key."""
    try:
        public_key(peer_id)
    except ProtocolError as error:
        return str(error)
    return None


class PacedReads:
    """A secured connection whose small reads cost the peer's quota."""

    def __init__(self, conn: ISecureConn, guard: Guard, peer_id: str) -> None:
        self._conn = conn
        self._guard = guard
        self._peer_id = peer_id

    async def read(self, n: int | None = None) -> bytes:
        """Return up to `n` bytes."""
        data: bytes = await self._conn.read(n)
        if len(data) < SMALL_BYTES:
            await self._guard.pace(self._peer_id, Flow.FRAMES)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


class BoundedYamux(Yamux):  # type: ignore[misc]
    """Streams over one connection."""

    def __init__(self, conn: ISecureConn, peer_id: ID, guard: Guard) -> None:
        super().__init__(PacedReads(conn, guard, str(peer_id)), peer_id, is_initiator=conn.is_initiator)
        self._guard = guard

    async def _read_data_body(self, length: int) -> bytes:
        """Return the body of a data frame; cut the peer off if it is more than may wait unread."""
        if length + sum(map(len, self.stream_buffers.values())) > MAX_BUFFERED_BYTES:
            self._guard.cut_off(str(self.peer_id), f"over {MAX_BUFFERED_BYTES} bytes sent past the flow control")
            # The one exception that ends the connection wherever it comes from.
            raise trio.TooSlowError
        body: bytes = await super()._read_data_body(length)
        return body

    async def _measure_rtt_loop(self) -> None:
        """Ping, and close the connection after `PINGS_MISSED` missing answers."""
        missed = 0
        while missed < PINGS_MISSED:
            with trio.move_on_after(PING_EVERY_S if self._ping_id else 0.5):
                await self.event_shutting_down.wait()
                return
            self._ping_id += 1
            self._ping_event = trio.Event()
            self._ping_sent_time = trio.current_time()
            missed += 1
            try:
                # The limit includes writing: a peer that reads nothing blocks it.
                with trio.move_on_after(PONG_WITHIN_S):
                    await self._write_frame(
                        struct.pack(yamux.YAMUX_HEADER_FORMAT, 0, yamux.TYPE_PING, yamux.FLAG_SYN, 0, self._ping_id)
                    )
                    await self._ping_event.wait()
                    missed = 0
            except (RawConnError, IOException):
                return
        self.event_shutting_down.set()
        await self._cleanup_on_error()
