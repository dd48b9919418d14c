"""Streams that peers open here: a bounded number per peer."""

from __future__ import annotations

import logging
import math

from libp2p.abc import INetStream
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost

from swarm.fair import Places
from swarm.net.guard import Guard
from swarm.net.tally import Tally

# One for gossip, a few for identify, ping and peers, and requests, whose own limit is lower.
MAX_STREAMS_PER_PEER = 128

logger = logging.getLogger(__name__)


class Streams:
    """Hands at most `MAX_STREAMS_PER_PEER` inbound streams of a peer to the host.

    The host gives each 10 s to name a protocol.
    """

    def __init__(self, host: BasicHost, tally: Tally, guard: Guard) -> None:
        self._host = host
        self._tally = tally
        self._guard = guard
        self._open: Places[str] = Places(math.inf, MAX_STREAMS_PER_PEER)

    async def handle(self, stream: INetStream) -> None:
        """Handle a stream from its first byte to its end."""
        peer_id = str(stream.muxed_conn.peer_id)
        full = self._open.full_for(peer_id)
        with self._open.taken(peer_id):
            try:
                if full:
                    self._tally["streams_refused"] += 1
                    self._guard.refused(peer_id, "streams")
                    await stream.reset()
                else:
                    await self._host._swarm_stream_handler(stream)
            except BaseLibp2pError as error:
                # A stream that ends early or negotiates nonsense is the peer's affair.
                logger.debug("a stream ended: %r", error)
