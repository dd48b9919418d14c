"""The tables of the store, and the digest that every row carries.

SQLite notices a damaged tree and passes a damaged value on. So each row holds a digest of its own
fields in the generated column `seal`, which SQLite computes for any statement that writes a row. It
contains no secret: it finds damage, not forgery, which signatures and re-scoring find. `swarmd
audit` recomputes every digest.
"""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass

import msgpack

SCHEMA_VERSION = 3
SEAL_BYTES = 8

# Table -> its columns in order. What follows the columns are constraints.
_TABLES = {
    "about": ("swarm BLOB NOT NULL",),
    "envelopes": (
        "id BLOB PRIMARY KEY", "own INTEGER NOT NULL", "signer BLOB NOT NULL", "sequence INTEGER NOT NULL",
        "received_ms INTEGER NOT NULL", "bytes INTEGER NOT NULL", "envelope BLOB NOT NULL", "body_hash BLOB", "body BLOB",
    ),
    "groups": (
        "key INTEGER PRIMARY KEY", "signer BLOB NOT NULL", "epoch INTEGER NOT NULL", "item INTEGER NOT NULL",
        "own INTEGER NOT NULL", "environment TEXT NOT NULL", "rendering TEXT NOT NULL", "reward_mean REAL NOT NULL",
        "reward_best REAL NOT NULL", "informative INTEGER NOT NULL", "policy_step INTEGER NOT NULL",
        "received_ms INTEGER NOT NULL", "trained_round INTEGER", "uses INTEGER NOT NULL",
        "record BLOB NOT NULL",
    ),
    "refusals": (
        "number INTEGER PRIMARY KEY", "received_ms INTEGER NOT NULL", "signer BLOB NOT NULL", "reason TEXT NOT NULL",
        "envelope BLOB NOT NULL", "item INTEGER", "evidence BLOB",
    ),
    "refusal_counts": ("reason TEXT PRIMARY KEY", "count INTEGER NOT NULL"),
    # Keys whose own log is known to begin in this very file (swarm.pool.store.log_table).
    "beginnings": ("key BLOB PRIMARY KEY",),
    # Two envelopes of one signer with one sequence number; `carrier` is the id of an envelope in
    # somebody's log that holds them.
    "proofs": (
        "signer BLOB PRIMARY KEY", "found_ms INTEGER NOT NULL", "one BLOB NOT NULL", "other BLOB NOT NULL",
        "carrier BLOB NOT NULL",
    ),
    "standings": ("signer BLOB PRIMARY KEY", "updated_ms INTEGER NOT NULL", "record BLOB NOT NULL"),
    "beacons": ("epoch INTEGER PRIMARY KEY", "round INTEGER NOT NULL", "signature BLOB NOT NULL"),
}  # fmt: skip
_CONSTRAINTS = {"envelopes": ", UNIQUE (signer, sequence)", "groups": ", UNIQUE (signer, epoch, item)"}
_INDEXES = """
CREATE INDEX envelopes_by_body ON envelopes (body_hash) WHERE body_hash IS NOT NULL;
CREATE INDEX envelopes_by_age ON envelopes (own, received_ms, bytes);
CREATE INDEX groups_by_age ON groups (own, received_ms);
CREATE INDEX groups_by_signer ON groups (signer, received_ms);
"""

# Table -> the names of its columns, the seal left out.
COLUMNS = {table: tuple(column.split()[0] for column in columns) for table, columns in _TABLES.items()}


def _table(name: str) -> str:
    sealed = f"seal BLOB GENERATED ALWAYS AS (seal('{name}', {', '.join(COLUMNS[name])})) STORED"
    return f"CREATE TABLE {name} ({', '.join([*_TABLES[name], sealed])}{_CONSTRAINTS.get(name, '')});\n"


SCHEMA = "".join(map(_table, _TABLES)) + _INDEXES


@dataclass(frozen=True, slots=True)
class StoredEnvelope:
    """An envelope as it travelled.

    `body` and its SHA-256 are None unless the envelope only announces its body.
    """

    id: bytes
    signer: bytes
    sequence: int
    received_ms: int
    envelope: bytes
    body_hash: bytes | None = None
    body: bytes | None = None

    @property
    def size(self) -> int:
        """Its bytes, an announced body's included."""
        return len(self.envelope) + len(self.body or b"")


def insert_envelope(db: sqlite3.Connection, entry: StoredEnvelope, *, own: bool) -> None:
    """Write an envelope's row."""
    db.execute(
        "INSERT INTO envelopes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.id, own, entry.signer, entry.sequence, entry.received_ms,
            entry.size, entry.envelope, entry.body_hash, entry.body,
        ),
    )  # fmt: skip


def row_digest(table: str, *values: int | float | str | bytes | None) -> bytes:
    """The digest (8 bytes) of a row: its table, and its values with their types and lengths."""
    # Damaged text need not be UTF-8; whoever looks for damage reads it with this error handler.
    packed = msgpack.packb((table, *values), unicode_errors="surrogateescape")
    return hashlib.blake2b(packed, digest_size=SEAL_BYTES).digest()


def teach(db: sqlite3.Connection) -> None:
    """Make the seal known to a connection, which must be before it writes."""
    db.execute("PRAGMA trusted_schema=ON")
    db.create_function("seal", -1, row_digest, deterministic=True)
