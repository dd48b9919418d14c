"""The open epochs: those to propose in now, and those of which shares are still taken."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.manifest import Manifest, epoch_of

# Tolerance for the clocks of home machines.
CLOCK_SKEW_MS = 60_000
# Shares of the previous epoch still travel when a new one begins.
PAST_EPOCHS = 1


def proposable(manifest: Manifest, now_ms: int) -> Sequence[int]:
    """Return the epochs to propose in, newest first: this one and, for its first half, the one
    before.

    In the first half this epoch's value may still be under way. Later, tasks of the one before
    would not reach everybody before they are stale.
    """
    half_ms = manifest.epoch_seconds * 500
    return range(epoch_of(manifest, now_ms), max(epoch_of(manifest, now_ms - half_ms), 0) - 1, -1)


def taken(manifest: Manifest, now_ms: int) -> range:
    """Return the epochs of which shares are taken: past ones, this one, and the next within clock
    skew."""
    return range(max(epoch_of(manifest, now_ms) - PAST_EPOCHS, 0), epoch_of(manifest, now_ms + CLOCK_SKEW_MS) + 1)
