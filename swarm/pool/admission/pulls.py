"""Pulls announced bodies from peers, several at once, so that nobody waits for a slow one."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from protocols.messages import Announce
from protocols.reasons import Reason
from swarm.errors import NetworkError
from swarm.fair import Places

# Pulls under way at once, up to 8 MiB each; further ones are refused.
MAX_PULLS = 8
MAX_PULLS_PER_SIGNER = 2

# (hash, size in bytes, forwarding peer's id, signer's key) -> body. Raises `NetworkError`.
FetchBody = Callable[[bytes, int, str, bytes], Awaitable[bytes]]


class Pulls:
    """One node's pulls under way."""

    def __init__(self, fetch: FetchBody) -> None:
        self._fetch = fetch
        self._places: Places[bytes] = Places(MAX_PULLS, MAX_PULLS_PER_SIGNER)

    async def pull(self, announce: Announce, forwarder: str, signer: bytes) -> bytes | Reason:
        """Return the body that `signer` announced, or the reason why there is none."""
        if self._places.full():
            return Reason.QUEUE_FULL
        if self._places.full_for(signer):
            return Reason.QUOTA
        with self._places.taken(signer):
            try:
                raw = await self._fetch(announce.body_hash, announce.body_bytes, forwarder, signer)
            except NetworkError:
                return Reason.BODY_UNAVAILABLE
        if len(raw) != announce.body_bytes or hashlib.sha256(raw).digest() != announce.body_hash:
            return Reason.BODY_MISMATCH
        return raw
