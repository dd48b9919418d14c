"""Proofs of equivocation in the store.

A signer that is proved to have written two histories is refused for good, also after a restart.

A proof takes up to 512 KiB, and whoever makes keys can make proofs. So the envelopes of the oldest
proofs are dropped when all of them take more than `MAX_BYTES`; that their signer was caught stays
known. Looking for those reads the whole table, so it is done once in `TRIMMED_EVERY` proofs, by
which the bounds may be exceeded.
"""

from __future__ import annotations

import sqlite3

from protocols.messages import Proof
from swarm.pool.store.store import Store

MAX_BYTES = 64 * 2**20
MAX_SIGNERS = 100_000
TRIMMED_EVERY = 64
NOT_CARRIED = b""  # as `carrier`: no log is known yet that holds the proof, so whoever found it passes it on
CANNOT_TRAVEL = b"-"  # as `carrier`: too large for an envelope


def keep(store: Store, signer: bytes, proof: Proof, found_ms: int, carrier: bytes) -> None:
    """Keep the first checked proof against `signer`.

    `carrier` is the id of the envelope that holds one, or `NOT_CARRIED`.
    """
    with store.transaction(durable=True) as db:
        new = db.execute(
            "INSERT OR IGNORE INTO proofs VALUES (?, ?, ?, ?, ?)", (signer, found_ms, proof.one, proof.other, NOT_CARRIED)
        )
        if carrier:
            db.execute("UPDATE proofs SET carrier = ? WHERE signer = ? AND carrier = ?", (carrier, signer, NOT_CARRIED))
        if new.rowcount and (new.lastrowid or 0) % TRIMMED_EVERY == 0:
            _trim(db)


def _trim(db: sqlite3.Connection) -> None:
    db.execute(
        "DELETE FROM proofs WHERE signer IN (SELECT signer FROM proofs ORDER BY found_ms DESC, signer LIMIT -1 OFFSET ?)",
        (MAX_SIGNERS,),
    )
    sizes = db.execute("SELECT signer, LENGTH(one) + LENGTH(other) FROM proofs ORDER BY found_ms DESC, signer").fetchall()
    held = 0
    for each, size in sizes:
        held += size
        if held > MAX_BYTES and size:
            db.execute("UPDATE proofs SET one = x'', other = x'' WHERE signer = ?", (each,))


def against(store: Store, signer: bytes) -> bool:
    """Whether a signer is proved to have equivocated."""
    return bool(store.rows("SELECT 1 FROM proofs WHERE signer = ?", (signer,)))


def not_carried(store: Store) -> Proof | None:
    """The oldest proof that no log holds yet, as far as is known here."""
    rows = store.rows(
        "SELECT one, other FROM proofs WHERE carrier = ? AND LENGTH(one) > 0 ORDER BY found_ms, signer LIMIT 1", (NOT_CARRIED,)
    )
    return Proof(*rows[0]) if rows else None


def carried(store: Store, proof: Proof, carrier: bytes) -> None:
    """Note the envelope that holds a proof."""
    with store.transaction() as db:
        db.execute("UPDATE proofs SET carrier = ? WHERE one = ? AND other = ?", (carrier, proof.one, proof.other))


def equivocators(store: Store) -> list[bytes]:
    """The keys that were caught, in order."""
    return [row[0] for row in store.rows("SELECT signer FROM proofs ORDER BY signer")]
