"""What goes when the pool is full: newcomers' groups and envelopes, then the biggest holders'.

Dropping the oldest ones alone would let a thousand fresh identities empty the pool of everybody
else's within minutes. So rows go from the end of the fair order (`ranking`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from swarm.pool.store.ranking import ranking, values_of

_LAST_GROUPS = """
    DELETE FROM groups WHERE key IN (
        SELECT key FROM placed
        ORDER BY NOT known AND place > :newcomers DESC, turn DESC, received_ms, key LIMIT :excess
    )
"""
_FOREIGN_GROUPS = "SELECT key, signer, received_ms FROM groups WHERE own = 0"
_DROP_GROUPS = ranking(_FOREIGN_GROUPS, "ROW_NUMBER()", "received_ms DESC, key DESC") + _LAST_GROUPS

# A row's turn is what it takes up together with all that came of its signer later: the biggest
# holder is cut first.
_LAST_ENVELOPES = """
    , leaving AS (
        SELECT id, bytes, SUM(bytes) OVER (
            ORDER BY NOT known AND place > :newcomers DESC, turn DESC, received_ms, sequence, id
        ) AS freed FROM placed
    )
    DELETE FROM envelopes WHERE id IN (SELECT id FROM leaving WHERE freed - bytes < :excess)
"""
_FOREIGN_ENVELOPES = "SELECT id, signer, received_ms, sequence, bytes FROM envelopes WHERE own = 0"
_DROP_ENVELOPES = ranking(_FOREIGN_ENVELOPES, "SUM(bytes)", "received_ms DESC, sequence DESC, id") + _LAST_ENVELOPES


def drop_beyond(db: sqlite3.Connection, max_groups: int, established: Collection[bytes]) -> None:
    """Keep at most `max_groups` foreign groups, those of `established` signers the longest."""
    (held,) = db.execute("SELECT COUNT(*) FROM groups WHERE own = 0").fetchone()
    if held > max_groups:
        # A little more than needed, so that ranking everything is worth it: once in many
        # admissions.
        excess = held - max_groups + max_groups // 100
        db.execute(_DROP_GROUPS, values_of(max_groups, established) | {"excess": excess})


def drop_envelopes_beyond(db: sqlite3.Connection, max_bytes: int, established: Collection[bytes]) -> None:
    """Keep at most `max_bytes` of foreign envelopes with their bodies, each signer's newest ones.

    Ranking takes seconds for hundreds of thousands, so a tenth goes at once.
    """
    (held,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM envelopes WHERE own = 0").fetchone()
    db.execute(_DROP_ENVELOPES, values_of(max_bytes, established) | {"excess": held - max_bytes + max_bytes // 10})


def drop_oldest_of(db: sqlite3.Connection, signer: bytes, keep: int) -> None:
    """Keep a signer's `keep` newest groups."""
    db.execute(
        "DELETE FROM groups WHERE key IN"
        " (SELECT key FROM groups WHERE signer = ? ORDER BY received_ms DESC, key DESC LIMIT -1 OFFSET ?)",
        (signer, keep),
    )


def drop_oldest_own(db: sqlite3.Connection, keep: int) -> None:
    """Keep this node's `keep` newest groups."""
    db.execute(
        "DELETE FROM groups WHERE key IN"
        " (SELECT key FROM groups WHERE own = 1 ORDER BY received_ms DESC, key DESC LIMIT -1 OFFSET ?)",
        (keep,),
    )
