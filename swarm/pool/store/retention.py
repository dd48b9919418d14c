"""Which foreign groups and envelopes go when the pool is full: first those of newcomers, then of whoever holds the most.

Dropping simply the oldest would let a thousand fresh identities empty the pool of everybody else's within minutes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

# Of the places, what newcomers may hold once there are established signers.
NEWCOMERS_PART = 4


def drop_beyond(db: sqlite3.Connection, max_groups: int, old: Collection[bytes]) -> None:
    """Keep at most `max_groups` foreign groups; `old` are the established signers, none while the node is young."""
    (held,) = db.execute("SELECT COUNT(*) FROM groups WHERE own = 0").fetchone()
    if held <= max_groups:
        return
    # A little more than needed, so that ranking everything is worth it: once in many admissions.
    excess = held - max_groups + max_groups // 100
    db.execute(
        """
        WITH ranked AS (
            SELECT key, received_ms, NOT hex(signer) IN (SELECT value FROM json_each(?1)) AS stranger,
                ROW_NUMBER() OVER (PARTITION BY signer ORDER BY received_ms DESC, key DESC) AS turn
            FROM groups WHERE own = 0
        ),
        placed AS (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY stranger ORDER BY turn, received_ms DESC, key DESC) AS place FROM ranked
        )
        DELETE FROM groups WHERE key IN (
            SELECT key FROM placed ORDER BY stranger AND place > ?2 DESC, turn DESC, received_ms, key LIMIT ?3
        )
        """,
        (_named(old), max_groups // NEWCOMERS_PART if old else max_groups, excess),
    )


def drop_envelopes_beyond(db: sqlite3.Connection, max_bytes: int, old: Collection[bytes]) -> None:
    """Keep at most `max_bytes` of foreign envelopes with their bodies; each signer's oldest go first, as with groups.

    A signer's place is what it takes up together with all that came of it later, so that the biggest holder is cut down first.
    Ranking takes seconds for hundreds of thousands, so a tenth goes at once.
    """
    (held,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM envelopes WHERE own = 0").fetchone()
    db.execute(
        """
        WITH ranked AS (
            SELECT id, received_ms, sequence, bytes, NOT hex(signer) IN (SELECT value FROM json_each(?1)) AS stranger,
                SUM(bytes) OVER (PARTITION BY signer ORDER BY received_ms DESC, sequence DESC) AS taken
            FROM envelopes WHERE own = 0
        ),
        placed AS (
            SELECT *, SUM(bytes) OVER (PARTITION BY stranger ORDER BY taken, received_ms DESC, id) AS place FROM ranked
        ),
        leaving AS (
            SELECT id, bytes, SUM(bytes) OVER (
                ORDER BY stranger AND place > ?2 DESC, taken DESC, received_ms, sequence, id
            ) AS freed FROM placed
        )
        DELETE FROM envelopes WHERE id IN (SELECT id FROM leaving WHERE freed - bytes < ?3)
        """,
        (_named(old), max_bytes // NEWCOMERS_PART if old else max_bytes, held - max_bytes + max_bytes // 10),
    )


def _named(signers: Collection[bytes]) -> str:
    """For `hex(signer) IN (SELECT value FROM json_each(…))`."""
    return json.dumps([each.hex().upper() for each in sorted(signers)])
