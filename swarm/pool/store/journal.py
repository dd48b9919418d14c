"""Own envelopes that the store's file does not hold yet.

The store collects a minute of changes and writes them at once, since each write costs whole
pages: 140 kB a round, for 7 kB of text. An own envelope cannot wait so long before it is published.
So it is appended here first, flushed to the disk, and taken up by the store that finds it after a
kill. Once the store has written it, the journal is empty again.

    pool.sqlite-own    for each envelope: the payload's length (4 bytes, big-endian) and the sum of
                       that (4 bytes), BLAKE2b of the payload (16 bytes), the payload (MessagePack)
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from dataclasses import astuple, dataclass, field
from pathlib import Path

import msgpack

from swarm.pool.store.tables import StoredEnvelope, insert_envelope

_LENGTH_BYTES, _SUM_BYTES, _DIGEST_BYTES = 4, 4, 16
_HEAD_BYTES = _LENGTH_BYTES + _SUM_BYTES + _DIGEST_BYTES


@dataclass
class JournalReading:
    """The envelopes of a journal, and what is wrong with it: damage, or the remains of a kill."""

    entries: list[StoredEnvelope] = field(default_factory=list)
    damage: tuple[str, str] | None = None
    note: str | None = None


def journal_path(pool: Path) -> Path:
    """Where the journal of a store's file is."""
    return pool.with_name(pool.name + "-own")


def read_journal(pool: Path) -> JournalReading:
    """Read a store's journal as far as it is whole. Raises `OSError` when it cannot be read."""
    path, found = journal_path(pool), JournalReading()
    data = path.read_bytes() if path.exists() else b""
    at = 0
    while at < len(data):
        head = data[at : at + _HEAD_BYTES]
        length, sum_ = head[:_LENGTH_BYTES], head[_LENGTH_BYTES : _LENGTH_BYTES + _SUM_BYTES]
        if len(head) >= _LENGTH_BYTES + _SUM_BYTES and sum_ != _blake(length, _SUM_BYTES):
            found.damage = f"envelope {len(found.entries) + 1}", "is not what was written; it and all after it are lost"
            return found
        end = at + _HEAD_BYTES + int.from_bytes(length)
        payload = data[at + _HEAD_BYTES : end]
        if len(head) < _HEAD_BYTES or end > len(data):
            found.note = f"ends in an unfinished write of {len(data) - at} bytes"
            return found
        if head[-_DIGEST_BYTES:] != _blake(payload, _DIGEST_BYTES):
            found.damage = f"envelope {len(found.entries) + 1}", "is not what was written; it and all after it are lost"
            return found
        found.entries.append(StoredEnvelope(*msgpack.unpackb(payload)))
        at = end
    return found


def take_up(db: sqlite3.Connection, pool: Path) -> None:
    """Write what the journal of `pool` has and `db` has not, inside a transaction."""
    for entry in read_journal(pool).entries:
        if not db.execute("SELECT 1 FROM envelopes WHERE signer = ? AND sequence = ?", (entry.signer, entry.sequence)).fetchone():
            insert_envelope(db, entry, own=True)


class Journal:
    """The journal of a store that is open for writing. Its methods raise `OSError`."""

    def __init__(self, pool: Path) -> None:
        self._path = journal_path(pool)
        self.empty = not self._path.exists() or self._path.stat().st_size == 0

    def append(self, entry: StoredEnvelope) -> None:
        """Keep an envelope, and wait for the disk. What a full disk took of it is cut off."""
        payload = msgpack.packb(astuple(entry))
        length = len(payload).to_bytes(_LENGTH_BYTES)
        with self._path.open("ab") as file:
            before = file.tell()
            try:
                file.write(length + _blake(length, _SUM_BYTES) + _blake(payload, _DIGEST_BYTES) + payload)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self._path, before)
                raise
        self.empty = False

    def clear(self) -> None:
        """Forget all envelopes."""
        if not self.empty:
            os.truncate(self._path, 0)
            self.empty = True


def _blake(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()
