"""Each signer's budget at this node: messages, bytes and verification seconds, in token buckets.

Going over is refused and costs nothing else: a round may be fast, a machine slow. Exceeding the
budget by a whole burst more is a flood, and its signer is cut off. Only fresh envelopes are held
against their signer. Anybody can replay old ones, even all at once to a node that has just started,
so they are counted apart and blamed on nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.envelope import Envelope
from swarm.clock import Clock
from swarm.fair import Buckets

# Of any one signer: envelopes, their bytes with bodies, and seconds of the verifiers, per second.
MESSAGES_PER_S = 5.0
BYTES_PER_S = 256.0 * 1024
VERIFICATION = 0.2
# The burst, in seconds of the rate.
BURST_S = 60.0
NEWCOMER_BURST_S = 10.0  # of the verifiers, for signers who are not established
FRESH_MS = 120_000
MAX_SIGNERS = 10_000


@dataclass(frozen=True, slots=True)
class Charged:
    """Whether an envelope is within its signer's budget, and whether the excess is a flood."""

    within: bool
    flood: bool


class Budgets:
    """The buckets of one node's signers."""

    def __init__(self, clock: Clock) -> None:
        begun_ms = clock.now_ms()  # seconds since then are small enough to be exact to a millisecond

        def buckets(rate: float, burst_s: float = BURST_S) -> Buckets[bytes]:
            return Buckets(rate, rate * burst_s, lambda: (clock.now_ms() - begun_ms) / 1000, MAX_SIGNERS)

        self._clock = clock
        self._fresh = buckets(MESSAGES_PER_S), buckets(BYTES_PER_S)
        self._late = buckets(MESSAGES_PER_S), buckets(BYTES_PER_S)
        # By whether a signer is established; what it spends counts in both.
        self.verification = {True: buckets(VERIFICATION), False: buckets(VERIFICATION, NEWCOMER_BURST_S)}

    def charge(self, envelope: Envelope, size: int) -> Charged:
        """Charge an envelope to its signer; `size` (bytes) includes the body that it announces."""
        fresh = abs(self._clock.now_ms() - envelope.time_ms) < FRESH_MS
        messages, bytes_ = self._fresh if fresh else self._late
        left = ((messages, messages.spend(envelope.key, 1)), (bytes_, bytes_.spend(envelope.key, size)))
        return Charged(
            within=all(tokens >= 0 for _, tokens in left),
            flood=fresh and any(tokens < -bucket.burst for bucket, tokens in left),
        )
