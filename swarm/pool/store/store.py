"""Everything a node must not lose, in one SQLite file.

It holds the node's own signed log, foreign envelopes, admitted groups and refusals; pool_file.py
keeps it whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.config.schema import PoolSection
from swarm.errors import HomeError
from swarm.pool.store.packing import pack_group, unpack_group
from swarm.pool.store.pool_file import PoolFile
from swarm.pool.store.retention import drop_beyond, drop_envelopes_beyond, drop_oldest_of, drop_oldest_own
from swarm.pool.store.tables import StoredEnvelope, insert_envelope
from swarm.records import Refusal, ScoredGroup

KEPT_REFUSALS = 1000
# Of an envelope that was refused as a whole, and so is not kept, this much is: enough for nearly
# all, 16 MiB in all.
MAX_EVIDENCE_BYTES = 16 * 1024

_OWN_LOG = "SELECT id, signer, sequence, received_ms, envelope, body_hash, body FROM envelopes WHERE own = 1 ORDER BY sequence"
_GROUPS = "SELECT key, trained_round, record FROM groups"


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
        self._path = path
        self._foreign_bytes: int | None = None
        self._file = PoolFile(path, bounds.commit_every_s, self._count_anew, read_only=read_only)

    def _count_anew(self) -> None:
        self._foreign_bytes = None

    def close(self) -> None:
        """Write what has been collected, and close the file."""
        self._file.close()

    def transaction(self, durable: bool = False) -> AbstractContextManager[sqlite3.Connection]:
        """Change all that is changed inside, or nothing; `durable` waits for the disk."""
        return self._file.transaction(durable)

    def rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; name its columns, since each table ends with the digest."""
        return self._file.rows(query, values)

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

    # Envelopes

    def append_own(self, entry: StoredEnvelope) -> None:
        """Add the next own envelope and flush it to the disk; publish it afterwards only."""
        self._file.append_own(entry)

    def add_envelope(self, entry: StoredEnvelope, *, established: Collection[bytes] = ()) -> None:
        """Keep a foreign envelope, and drop others when they take too many bytes.

        Everybody but the `established` signers is a newcomer, whose envelopes go first.
        """
        held = self.foreign_bytes + entry.size
        with self.transaction() as db:
            insert_envelope(db, entry, own=False)
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

    def newest_own(self) -> StoredEnvelope | None:
        """The last envelope of the own log."""
        return next(self._own(" DESC LIMIT 1"), None)

    def own_log(self, *, newest_first: bool = False) -> Iterator[StoredEnvelope]:
        """The own log from its beginning, or from its end."""
        return self._own(" DESC" if newest_first else " ASC")

    def _own(self, order: str) -> Iterator[StoredEnvelope]:
        for row in self._file.each(_OWN_LOG + order):
            yield StoredEnvelope(*row)

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
