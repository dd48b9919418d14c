"""Bodies that are announced by their hash and pulled from peers: so many at once, so that nobody waits for a slow one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable

from protocols.messages import Announce
from protocols.reasons import Reason
from swarm.errors import NetworkError

# Under way at once, up to 8 MiB each; what is more is refused.
MAX_PULLS = 8
MAX_PULLS_PER_SIGNER = 2

# (hash, size in bytes, peer that forwarded the announcement, signer's key) -> body. Raises `NetworkError`.
FetchBody = Callable[[bytes, int, str, bytes], Awaitable[bytes]]


class Pulls:
    """One node's."""

    def __init__(self, fetch: FetchBody) -> None:
        self._fetch = fetch
        self._under_way: Counter[bytes] = Counter()

    async def pull(self, announce: Announce, forwarder: str, signer: bytes) -> bytes | Reason:
        """The body that `signer` announced, or why there is none."""
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
