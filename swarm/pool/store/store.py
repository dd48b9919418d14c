"""Everything a node must not lose, in one SQLite file.

It holds the node's own signed log, foreign envelopes, admitted groups and refusals.

Write-ahead logging keeps the file whole through a kill at any instruction. Appending to the own log
is flushed to the disk before the envelope is published: a node that forgot an envelope it has sent
would sign another one with the same sequence number, which is a proof of cheating. The rest may
lose its last moments to a power cut, and is received again. Every row has a digest (tables.py) and
every page a sum (page_sums.py), so that `swarmd audit` finds any byte that has changed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swarm.config.schema import PoolSection
from swarm.errors import HomeError
from swarm.home import storage
from swarm.pool.store.packing import pack_group, unpack_group
from swarm.pool.store.page_sums import renew_sums, sums_path, sweep
from swarm.pool.store.retention import drop_beyond, drop_envelopes_beyond, drop_oldest_of, drop_oldest_own
from swarm.pool.store.tables import SCHEMA, SCHEMA_VERSION, teach
from swarm.pool.store.wal import pages_in_log, wal_path
from swarm.records import Refusal, ScoredGroup

KEPT_REFUSALS = 1000
# How long to wait for a reader that holds the file for a moment.
BUSY_MS = 5000
# The write-ahead log is moved over into the file when it has grown to this.
SETTLED_BYTES = 4 * 2**20
# Of an envelope that was refused as a whole, and so is not kept, this much is: enough for nearly
# all, 16 MiB in all.
MAX_EVIDENCE_BYTES = 16 * 1024

_OWN_LOG = "SELECT id, signer, sequence, received_ms, envelope, body_hash, body FROM envelopes WHERE own = 1 ORDER BY sequence"
_GROUPS = "SELECT key, trained_round, record FROM groups"


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


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Rows and bytes held."""

    own_envelopes: int
    foreign_envelopes: int
    foreign_envelope_bytes: int
    own_groups: int
    foreign_groups: int
    foreign_groups_trained: int


class Store:
    """The file, used from one thread at a time.

    Raises `HomeError` when it cannot be opened or written.

    One process at a time may write; beside it others may look, with `read_only`.
    """

    def __init__(self, path: Path, bounds: PoolSection, *, read_only: bool = False) -> None:
        self._bounds = bounds
        self._read_only = read_only
        self._foreign_bytes: int | None = None
        with _explained(path):
            place = _place(path, "ro" if read_only else "rwc")
            self._db = sqlite3.connect(place, uri=True, check_same_thread=False, isolation_level=None, timeout=BUSY_MS / 1000)
            self._path = path
            self._log_path = str(wal_path(path))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # The log is moved over by `_settle` only, and cut then: no frame of an earlier log
            # stays behind the new ones.
            self._db.execute("PRAGMA wal_autocheckpoint=0")
            self._db.execute("PRAGMA journal_size_limit=0")
            teach(self._db)
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
            elif version != SCHEMA_VERSION:
                raise HomeError(
                    f"{path} was written by another version of swarmd (schema {version}, this one knows {SCHEMA_VERSION}); "
                    "move it away to begin a new pool, the key and checkpoints are kept"
                )
            if not read_only:
                try:
                    with storage(path.parent):
                        sweep(path)
                    self._settle()
                except HomeError:
                    self.close()
                    raise

    def belong_to(self, swarm: bytes) -> None:
        """Tie a new file to a swarm (its manifest's id).

        Raises `HomeError` when it holds the log of another swarm.
        """
        with self.transaction() as db:
            row = db.execute("SELECT swarm FROM about").fetchone()
            if row is None:
                db.execute("INSERT INTO about VALUES (?)", (swarm,))
            elif row[0] != swarm:
                raise HomeError(
                    f"{self._path} holds the log of swarm {bytes(row[0]).hex()}, not of {swarm.hex()}; "
                    "use another --home for another swarm"
                )

    @property
    def max_bytes(self) -> int:
        """How many bytes of foreign envelopes are kept."""
        return self._bounds.max_bytes

    def close(self) -> None:
        """Close the file; its contents are already safe."""
        try:
            if not self._read_only:
                self._settle()
        except HomeError:
            # Without room for new sums the log stays. The last connection that closes would move it
            # over, but no reader may.
            with closing(sqlite3.connect(_place(self._path, "ro"), uri=True)) as reader, suppress(sqlite3.DatabaseError):
                reader.execute("SELECT swarm FROM about").fetchall()
                self._db.close()
        finally:
            self._db.close()

    def _settle(self) -> None:
        """Move the write-ahead log over into the file, and renew the sums of the changed pages."""
        with _explained(self._path), storage(self._path.parent):
            (page_size,) = self._db.execute("PRAGMA page_size").fetchone()
            changed = pages_in_log(self._path, page_size)
            if not changed and sums_path(self._path).exists():
                return
            busy, in_log, moved = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            renew_sums(self._path, page_size, changed)
            if not busy and in_log == moved:
                # Where somebody reads what the log holds, it is cut another time rather than waited
                # for.
                self._db.execute("PRAGMA busy_timeout=0")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._db.execute(f"PRAGMA busy_timeout={BUSY_MS}")

    @contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """Write all that is written inside, or nothing.

        `durable` waits for the disk. SQLite computes each row's digest as it is written.
        """
        with _explained(self._path):
            if self._log_bytes() > SETTLED_BYTES:
                self._settle()
            if durable:
                self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            finally:
                if durable:
                    self._db.execute("PRAGMA synchronous=NORMAL")

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._log_path).st_size  # not by pathlib, which is slow: this is asked before every transaction
        except FileNotFoundError:
            return 0

    # Envelopes

    def append_own(self, entry: StoredEnvelope) -> None:
        """Add the next own envelope and flush it to the disk; publish it afterwards only."""
        with self.transaction(durable=True) as db:
            self._insert_envelope(db, entry, own=True)

    def add_envelope(self, entry: StoredEnvelope, *, established: Collection[bytes] = ()) -> None:
        """Keep a foreign envelope, and drop others when they take too many bytes.

        Everybody but the `established` signers is a newcomer, whose envelopes go first.
        """
        held = self.foreign_bytes + len(entry.envelope) + len(entry.body or b"")
        with self.transaction() as db:
            self._insert_envelope(db, entry, own=False)
            if full := held > self._bounds.max_bytes:
                drop_envelopes_beyond(db, self._bounds.max_bytes, established)
        self._foreign_bytes = None if full else held

    @property
    def foreign_bytes(self) -> int:
        """Bytes of foreign envelopes held.

        Counted as they come, since summing them up reads every row of an index.
        """
        if self._foreign_bytes is None:
            ((self._foreign_bytes,),) = self.rows("SELECT COALESCE(SUM(bytes), 0) FROM envelopes WHERE own = 0")
        return self._foreign_bytes or 0

    def _insert_envelope(self, db: sqlite3.Connection, entry: StoredEnvelope, *, own: bool) -> None:
        size = len(entry.envelope) + len(entry.body or b"")
        db.execute(
            "INSERT INTO envelopes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.id, own, entry.signer, entry.sequence, entry.received_ms,
                size, entry.envelope, entry.body_hash, entry.body,
            ),
        )  # fmt: skip

    def newest_own(self) -> StoredEnvelope | None:
        """The last envelope of the own log."""
        return next(self._own(" DESC LIMIT 1"), None)

    def own_log(self, *, newest_first: bool = False) -> Iterator[StoredEnvelope]:
        """The own log from its beginning, or from its end."""
        return self._own(" DESC" if newest_first else " ASC")

    def _own(self, order: str) -> Iterator[StoredEnvelope]:
        with _explained(self._path):
            for row in self._db.execute(_OWN_LOG + order):
                yield StoredEnvelope(*row)

    def rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; name its columns, since each table ends with the digest."""
        with _explained(self._path):
            return self._db.execute(query, values).fetchall()

    def envelope_at(self, signer: bytes, sequence: int) -> bytes | None:
        """The id of the held envelope of a signer with this sequence number."""
        rows = self.rows("SELECT id FROM envelopes WHERE signer = ? AND sequence = ?", (signer, sequence))
        return rows[0][0] if rows else None

    def body(self, body_hash: bytes) -> bytes | None:
        """An announced body, own or foreign, by its SHA-256."""
        rows = self.rows("SELECT body FROM envelopes WHERE body_hash = ?", (body_hash,))
        return rows[0][0] if rows else None

    # Groups

    def add_groups(self, groups: Sequence[ScoredGroup], *, own: bool, established: Collection[bytes] = ()) -> None:
        """Keep groups, once each, and drop others when there are too many.

        A signer's own oldest go first, then those of newcomers: everybody but the `established`
        signers.
        """
        with self.transaction() as db:
            for group in groups:
                recipe = group.task.recipe
                db.execute(
                    "INSERT OR IGNORE INTO groups VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, 0, ?)",
                    (
                        group.signer, recipe.epoch, recipe.index, own, recipe.environment, group.rendering,
                        group.reward_mean, max(group.rewards), group.informative, group.policy.step, group.received_ms,
                        pack_group(group),
                    ),
                )  # fmt: skip
            for signer in {group.signer for group in groups}:
                drop_oldest_of(db, signer, self._bounds.groups_per_peer)
            if own:
                drop_oldest_own(db, self._bounds.max_groups)
            else:
                drop_beyond(db, self._bounds.max_groups, established)

    def held_items(self, signer: bytes, epoch: int) -> frozenset[int]:
        """The indices of an epoch of which a signer's group is held."""
        rows = self.rows("SELECT item FROM groups WHERE signer = ? AND epoch = ?", (signer, epoch))
        return frozenset(item for (item,) in rows)

    def load(self, keys: Sequence[int]) -> list[ScoredGroup]:
        """The groups with these keys, in their order; those trimmed away meanwhile are left out."""
        rows = [row for key in keys for row in self.rows("SELECT record FROM groups WHERE key = ?", (key,))]
        return [self._unpacked(record) for (record,) in rows]

    def _unpacked(self, record: bytes) -> ScoredGroup:
        try:
            return unpack_group(record)
        except (ValueError, TypeError) as error:
            raise HomeError(
                f"a group in the pool {self._path} is damaged ({error}); move the file away to begin a new pool"
            ) from None

    def mark_trained(self, keys: Sequence[int], round: int) -> None:
        """Remember in which round these groups were trained on last, and how often they were."""
        with self.transaction() as db:
            db.executemany("UPDATE groups SET trained_round = ?, uses = uses + 1 WHERE key = ?", [(round, key) for key in keys])

    def groups(self, *, limit: int, signer: bytes | None = None) -> list[tuple[int, int | None, ScoredGroup]]:
        """(key, round trained in last, group), newest first."""
        where, values = (" WHERE signer = ?", (signer,)) if signer is not None else ("", ())
        rows = self.rows(_GROUPS + where + " ORDER BY received_ms DESC, key DESC LIMIT ?", (*values, limit))
        return [(key, trained, self._unpacked(record)) for key, trained, record in rows]

    # Refusals

    def add_refusals(self, received_ms: int, refusals: Sequence[Refusal]) -> None:
        """Count refusals and keep the newest, without evidence over `MAX_EVIDENCE_BYTES`."""
        with self.transaction() as db:
            for refusal in refusals:
                evidence = refusal.evidence or b""
                kept = evidence if 0 < len(evidence) <= MAX_EVIDENCE_BYTES else None
                db.execute(
                    "INSERT INTO refusals VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                    (received_ms, refusal.signer, refusal.reason, refusal.envelope, refusal.item, kept),
                )
                db.execute(
                    "INSERT INTO refusal_counts VALUES (?, 1) ON CONFLICT (reason) DO UPDATE SET count = count + 1",
                    (refusal.reason,),
                )
            db.execute("DELETE FROM refusals WHERE number <= (SELECT MAX(number) FROM refusals) - ?", (KEPT_REFUSALS,))

    def refusals(self) -> dict[str, int]:
        """How often each reason was given, since the pool was made."""
        return dict(self.rows("SELECT reason, count FROM refusal_counts ORDER BY reason"))

    def statistics(self) -> StoreStatistics:
        """Rows and bytes held now."""
        (one,) = self.rows(
            """
            SELECT (SELECT COUNT(*) FROM envelopes WHERE own = 1), (SELECT COUNT(*) FROM envelopes WHERE own = 0),
                (SELECT COALESCE(SUM(bytes), 0) FROM envelopes WHERE own = 0), (SELECT COUNT(*) FROM groups WHERE own = 1),
                (SELECT COUNT(*) FROM groups WHERE own = 0),
                (SELECT COUNT(*) FROM groups WHERE own = 0 AND trained_round IS NOT NULL)
            """
        )
        return StoreStatistics(*one)


def _place(path: Path, mode: str) -> str:
    return f"file:{quote(str(path))}?mode={mode}"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's messages may quote damaged names
        raise HomeError(
            f"the pool {path} cannot be used ({error}); check that the disk has room, is writable and the file is whole"
        ) from error
