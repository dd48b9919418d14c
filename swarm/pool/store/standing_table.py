"""This node's records about signers: a restart forgets the last moments only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from swarm.pool.store.store import Store

Rows = Sequence[tuple[bytes, Mapping[str, Any] | None]]


def load(store: Store) -> list[tuple[bytes, dict[str, Any]]]:
    """(signer, record) of every signer, in the order of their keys."""
    return [(signer, json.loads(record)) for signer, record in store.rows("SELECT signer, record FROM standings ORDER BY signer")]


def keep(store: Store, rows: Rows) -> None:
    """Write records in one transaction; a record of None removes the signer."""
    with store.transaction() as db:
        for signer, record in rows:
            if record is None:
                db.execute("DELETE FROM standings WHERE signer = ?", (signer,))
            else:
                db.execute(
                    "INSERT OR REPLACE INTO standings VALUES (?, ?, ?)",
                    (signer, record["updated_ms"], json.dumps(record).encode()),
                )
