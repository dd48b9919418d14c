"""What this node thinks of each signer, from its own checks only.

A failed check that an honest node cannot fail costs one point; points fade by half every `HALF_LIFE_S`. At `LIMIT` points
a signer is not listened to until enough has faded. Being newer, slower or late costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocols.errors import Reason

HALF_LIFE_S = 600.0
LIMIT = 3.0
MAX_SIGNERS = 10_000

# What only a broken or dishonest signer sends; everything else can happen to an honest one.
BLAMED = frozenset(
    {
        Reason.EQUIVOCATION,
        Reason.CHAIN,
        Reason.INDEX,
        Reason.INDEX_GAP,
        Reason.PROPOSER,
        Reason.GROUP_COUNT,
        Reason.GROUP_SIZE,
        Reason.COMPLETION_LENGTH,
        Reason.BODY_MISMATCH,
        Reason.REWARD,
    }
)


@dataclass(frozen=True, slots=True)
class StandingStatistics:
    """Signers with any points, and those not listened to now."""

    marked: int
    silenced: int


class Standing:
    """Points per signer (32-byte public key)."""

    def __init__(self) -> None:
        self._points: dict[bytes, tuple[float, int]] = {}

    def points(self, signer: bytes, now_ms: int) -> float:
        """Points left of what the signer was blamed for."""
        points, since_ms = self._points.get(signer, (0.0, now_ms))
        # A clock that was set back must not make old points grow.
        return points * math.exp2(-max(now_ms - since_ms, 0) / 1000 / HALF_LIFE_S)

    def good(self, signer: bytes, now_ms: int) -> bool:
        """Whether the signer is listened to."""
        return self.points(signer, now_ms) < LIMIT

    def refused(self, signer: bytes, reason: Reason, now_ms: int) -> None:
        """Take note of a refusal; of too many signers the one marked longest ago is forgotten."""
        if reason not in BLAMED:
            return
        self._points[signer] = (self.points(signer, now_ms) + 1, now_ms)
        if len(self._points) > MAX_SIGNERS:
            del self._points[min(self._points, key=lambda each: self._points[each][1])]

    def statistics(self, now_ms: int) -> StandingStatistics:
        """Counts at this time."""
        return StandingStatistics(len(self._points), sum(not self.good(signer, now_ms) for signer in self._points))
