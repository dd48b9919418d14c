"""Checks that a signer's shares use its task indices in order, as far as this node can know.

Indices of one epoch are used from 0 upward without gaps, so that nobody can choose among tasks.
Little can be held against a signer, since its envelopes arrive late, in any order, or never: only
indices that go back, or a hole between two shares that are neighbours in the log.
"""

from __future__ import annotations

from protocols.messages import Share
from protocols.reasons import Reason
from swarm.newest import Newest

MAX_SIGNERS = 10_000


class Ranges:
    """The newest share of each signer (32-byte key): sequence number, epoch and end of range.

    The signer heard last stands at the end.
    """

    def __init__(self) -> None:
        self._newest: Newest[bytes, tuple[int, int, int]] = Newest(MAX_SIGNERS)

    def take(self, signer: bytes, sequence: int, share: Share) -> Reason | None:
        """Note the share with this sequence number. Returns the reason if its range is wrong."""
        newest = self._newest.get(signer)
        if newest is not None:
            at, epoch, end = newest
            if sequence < at:
                return None  # it came late: its successors were judged without it
            expected = end if share.epoch == epoch else 0
            adjacent = sequence == at + 1
            if share.epoch < epoch or share.first_index < expected or (adjacent and share.first_index != expected):
                return Reason.INDEX_GAP
        self._newest[signer] = (sequence, share.epoch, share.first_index + share.count)
        return None

    def pass_over(self, signer: bytes, sequence: int) -> None:
        """Note an envelope that takes a sequence number and no indices."""
        newest = self._newest.get(signer)
        if newest is not None and sequence == newest[0] + 1:
            self._newest[signer] = (sequence, *newest[1:])
