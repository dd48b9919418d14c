"""Which epochs are open: what may be proposed now, and which shares are still taken."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.manifest import Manifest, epoch_of

# Clocks of home machines differ; this much is forgiven.
CLOCK_SKEW_MS = 60_000
# Shares of the previous epoch still travel when a new one begins.
PAST_EPOCHS = 1


def proposable(manifest: Manifest, now_ms: int) -> Sequence[int]:
    """Return the epochs to propose in, newest first: this one and, while its value may still be under way, the one before.

    Only for the first half of this one, so that what is proposed then reaches everybody before it is stale.
    """
    half_ms = manifest.epoch_seconds * 500
    return range(epoch_of(manifest, now_ms), max(epoch_of(manifest, now_ms - half_ms), 0) - 1, -1)


def taken(manifest: Manifest, now_ms: int) -> range:
    """Return the epochs of which shares are taken: some past ones, this one, and the next within the clocks' difference."""
    return range(max(epoch_of(manifest, now_ms) - PAST_EPOCHS, 0), epoch_of(manifest, now_ms + CLOCK_SKEW_MS) + 1)
