"""An attacker's own log: valid in every way an honest one is, and kept in memory only."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import NO_PREVIOUS, Envelope, seal
from protocols.messages import RolloutGroup, Share


class Log:
    """The shares of one key in one swarm (its manifest's id), with the indices they account for."""

    def __init__(self, key: Ed25519PrivateKey, swarm: bytes) -> None:
        self.private_key = key
        self.key = key.public_key().public_bytes_raw()
        self.shares = 0
        self._swarm = swarm
        self._previous = NO_PREVIOUS
        self._epoch = self._first = self._next = 0

    def take_index(self, epoch: int) -> int:
        """The next task index of this epoch."""
        if epoch != self._epoch:
            self._epoch, self._first, self._next = epoch, 0, 0
        self._next += 1
        return self._next - 1

    def share(self, round: int, groups: Sequence[RolloutGroup], now_ms: int) -> Envelope:
        """The next entry, which accounts for every index taken since the one before."""
        share = Share(round, self._epoch, self._first, self._next - self._first, tuple(groups))
        self._first = self._next
        return self.carry(share, now_ms)

    def carry(self, share: Share, now_ms: int) -> Envelope:
        """The next entry with any share in it."""
        envelope = seal(self.private_key, self.shares, self._previous, now_ms, share, self._swarm)
        self._previous = envelope.id
        self.shares += 1
        return envelope
