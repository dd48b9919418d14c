"""The verified rounds of the swarm's drand chain, one per epoch.

They serve a restart, peers who ask, and the offline audit.

A row is some 80 bytes and is never removed: whoever audits an old log needs the value of its epoch.
"""

from __future__ import annotations

from swarm.pool.store.store import Store


def keep(store: Store, epoch: int, round: int, signature: bytes) -> None:
    """Keep the verified round of an epoch, also in the place of one that has been damaged."""
    with store.transaction() as db:
        db.execute("INSERT OR REPLACE INTO beacons VALUES (?, ?, ?)", (epoch, round, signature))


def signature_of(store: Store, round: int) -> bytes | None:
    """The signature (48 bytes) of a round, if it belongs to an epoch that was met here."""
    rows = store.rows("SELECT signature FROM beacons WHERE round = ? LIMIT 1", (round,))
    return rows[0][0] if rows else None


def at(store: Store, epoch: int) -> tuple[int, bytes] | None:
    """(round, signature) of an epoch."""
    rows = store.rows("SELECT round, signature FROM beacons WHERE epoch = ?", (epoch,))
    return rows[0] if rows else None
