"""The rows of what this node thinks of signers: a restart forgets nothing but the last moments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swarm.pool.store.store import Store

Rows = Sequence[tuple[bytes, Mapping[str, Any] | None]]


def load(store: Store) -> list[tuple[bytes, dict[str, Any]]]:
    """(signer, record) of everybody, in an order that depends on their keys only."""
    return [(signer, json.loads(record)) for signer, record in store.rows("SELECT signer, record FROM standings ORDER BY signer")]


def keep(store: Store, rows: Rows) -> None:
    """Write records, and forget the signers that have none any more, in one transaction."""
    with store.transaction() as db:
        for signer, record in rows:
            if record is None:
                db.execute("DELETE FROM standings WHERE signer = ?", (signer,))
            else:
                db.execute(
                    "INSERT OR REPLACE INTO standings VALUES (?, ?, ?)",
                    (signer, record["updated_ms"], json.dumps(record).encode()),
                )
