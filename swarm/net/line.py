"""The node's share of its owner's line: `network.max_bytes_per_s` over all connections together, each way.

Who goes over it waits, reading and writing alike, so that TCP slows the peers down. Nobody is held to account for these waits:
the quota of each peer (`quota.py`) is another matter.
"""

from __future__ import annotations

import trio

from swarm.fair import Bucket

BURST_S = 1.0


class Line:
    """A limit of so many bytes per second each way; 0 is none."""

    def __init__(self, bytes_per_s: float) -> None:
        self._in = Bucket(bytes_per_s, bytes_per_s * BURST_S) if bytes_per_s else None
        self._out = Bucket(bytes_per_s, bytes_per_s * BURST_S) if bytes_per_s else None

    async def received(self, count: int) -> None:
        """Account for bytes that were read, and wait until more may be."""
        if self._in is not None:
            await trio.sleep(self._in.take(count))

    async def sent(self, count: int) -> None:
        """Account for bytes that were written, and wait until more may be."""
        if self._out is not None:
            await trio.sleep(self._out.take(count))
