"""The node's share of its owner's line: `network.max_bytes_per_s` over all connections, each way.

Reads and writes beyond the limit wait, so that TCP slows the peers down. These waits are not held
against any peer; each peer has a quota of its own (`quota.py`).
"""

from __future__ import annotations

import trio

from swarm.fair import Bucket

BURST_S = 1.0


class Line:
    """A limit of `bytes_per_s` each way; 0 means no limit."""

    def __init__(self, bytes_per_s: float) -> None:
        self._in = Bucket(bytes_per_s, bytes_per_s * BURST_S) if bytes_per_s else None
        self._out = Bucket(bytes_per_s, bytes_per_s * BURST_S) if bytes_per_s else None

    async def received(self, count: int) -> None:
        """Account for `count` bytes read, and wait until more may be read."""
        if self._in is not None:
            await trio.sleep(self._in.take(count))

    async def sent(self, count: int) -> None:
        """Account for `count` bytes written, and wait until more may be written."""
        if self._out is not None:
            await trio.sleep(self._out.take(count))
