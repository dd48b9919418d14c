"""What one signer may cost this node: messages, bytes and verification seconds, each a token bucket.

Going over is refused and costs nothing else: a round may be fast, a machine slow. Far beyond, by as much again as may come at
once, is a flood, and its signer is cut off. Only fresh envelopes are held against their signer: old ones can be replayed by
anybody, also all at once to a node that has just started, so they are counted apart and blamed on nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocols.envelope import Envelope
from swarm.config.schema import PoolSection

# What may come at once, in seconds of the rate.
BURST_S = 60.0
FRESH_MS = 120_000
MAX_SIGNERS = 10_000


class Buckets:
    """One token bucket per signer, `rate` a second and a minute's worth at once. Full ones need not be remembered."""

    def __init__(self, rate: float) -> None:
        self._rate: Final = rate
        self.burst: Final = rate * BURST_S
        self._tokens: dict[bytes, tuple[float, int]] = {}

    def left(self, signer: bytes, now_ms: int) -> float:
        """Tokens left; below 0 is overdrawn."""
        tokens, since_ms = self._tokens.get(signer, (self.burst, now_ms))
        return min(tokens + self._rate * max(now_ms - since_ms, 0) / 1000, self.burst)

    def spend(self, signer: bytes, amount: float, now_ms: int) -> float:
        """Take so much, there or not; returns what is left, which is overdrawn by no more than twice the burst."""
        left = max(self.left(signer, now_ms) - amount, -2 * self.burst)
        self._tokens[signer] = left, now_ms
        if len(self._tokens) > MAX_SIGNERS:
            fullest = sorted(self._tokens, key=lambda each: -self.left(each, now_ms))
            for each in fullest[: MAX_SIGNERS // 10]:
                del self._tokens[each]
        return left


@dataclass(frozen=True, slots=True)
class Charged:
    """Whether an envelope is within its signer's budget, and whether so far beyond that the signer is flooding."""

    within: bool
    flood: bool


class Budgets:
    """All of one node's, at the rates of the pool's settings."""

    def __init__(self, settings: PoolSection) -> None:
        self._fresh = Buckets(settings.signer_messages_per_s), Buckets(settings.signer_bytes_per_s)
        self._late = Buckets(settings.signer_messages_per_s), Buckets(settings.signer_bytes_per_s)
        self.verification = Buckets(settings.signer_verification)

    def charge(self, envelope: Envelope, size: int, now_ms: int) -> Charged:
        """Charge an envelope that is `size` bytes, with the body that it announces."""
        fresh = abs(now_ms - envelope.time_ms) < FRESH_MS
        messages, bytes_ = self._fresh if fresh else self._late
        left = ((messages, messages.spend(envelope.key, 1, now_ms)), (bytes_, bytes_.spend(envelope.key, size, now_ms)))
        return Charged(
            within=all(tokens >= 0 for _, tokens in left),
            flood=fresh and any(tokens < -bucket.burst for bucket, tokens in left),
        )
