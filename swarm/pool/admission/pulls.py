"""Pulls announced bodies from peers, several at once, so that nobody waits for a slow one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable

from protocols.messages import Announce
from protocols.reasons import Reason
from swarm.errors import NetworkError

# Pulls under way at once, up to 8 MiB each; further ones are refused.
MAX_PULLS = 8
MAX_PULLS_PER_SIGNER = 2

# (hash, size in bytes, forwarding peer's id, signer's key) -> body. Raises `NetworkError`.
FetchBody = Callable[[bytes, int, str, bytes], Awaitable[bytes]]


class Pulls:
    """One node's pulls under way."""

    def __init__(self, fetch: FetchBody) -> None:
        self._fetch = fetch
        self._under_way: Counter[bytes] = Counter()

    async def pull(self, announce: Announce, forwarder: str, signer: bytes) -> bytes | Reason:
        """Return the body that `signer` announced, or the reason why there is none."""
        if self._under_way.total() >= MAX_PULLS:
            return Reason.QUEUE_FULL
        if self._under_way[signer] >= MAX_PULLS_PER_SIGNER:
            return Reason.QUOTA
        self._under_way[signer] += 1
        try:
            raw = await self._fetch(announce.body_hash, announce.body_bytes, forwarder, signer)
        except NetworkError:
            return Reason.BODY_UNAVAILABLE
        finally:
            self._under_way -= Counter([signer])
        if len(raw) != announce.body_bytes or hashlib.sha256(raw).digest() != announce.body_hash:
            return Reason.BODY_MISMATCH
        return raw
