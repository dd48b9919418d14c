"""The store's file: opened, changed, written, moved together and closed.

Write-ahead logging keeps the file whole through a kill at any instruction. Appending to the own log
is flushed to the disk before the envelope is published (journal.py): a node that forgot an envelope
it has sent would sign another one with the same sequence number, which is a proof of cheating. The
rest is written every minute (`pool.commit_every_s`), which saves nine tenths of the writes. A
kill loses that much of it, and it is received again. Every row has a digest (tables.py) and every
page a sum (page_sums.py), so that `swarmd audit` finds any byte that has changed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swarm.errors import HomeError
from swarm.home import storage
from swarm.pool.store.journal import Journal, take_up
from swarm.pool.store.page_sums import renew_sums, sums_path, sweep
from swarm.pool.store.tables import SCHEMA, SCHEMA_VERSION, StoredEnvelope, insert_envelope, teach
from swarm.pool.store.wal import pages_in_log, wal_path

# How long to wait for a reader that holds the file for a moment.
BUSY_MS = 5000
# The write-ahead log is moved over into the file when it has grown to this.
SETTLED_BYTES = 4 * 2**20
# Changed pages that are collected in memory; more of them go into the log early.
CACHE_KIB = 16 * 1024


class PoolFile:
    """The file, used from one thread at a time; changes are written `every_s` seconds apart.

    `lost` is called when SQLite has dropped what was collected. Raises `HomeError` when the file
    cannot be opened or written.
    """

    def __init__(self, path: Path, every_s: float, lost: Callable[[], None], *, read_only: bool = False) -> None:
        self._every_s = every_s
        self._on_loss = lost
        self._read_only = read_only
        self._begun_s = 0.0
        self._journal = Journal(path)
        with _explained(path):
            place = _place(path, "ro" if read_only else "rwc")
            self._db = sqlite3.connect(place, uri=True, check_same_thread=False, isolation_level=None, timeout=BUSY_MS / 1000)
            self._path = path
            self._log_path = str(wal_path(path))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if self._every_s else 'NORMAL'}")
            # The log is moved over by `_settle` only, and cut then: no frame of an earlier log
            # stays behind the new ones.
            self._db.execute("PRAGMA wal_autocheckpoint=0")
            self._db.execute("PRAGMA journal_size_limit=0")
            self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
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
                    self._take_up_journal()
                    self.commit()
                except HomeError:
                    self.close()
                    raise

    def close(self) -> None:
        """Write what has been collected, and close the file."""
        try:
            if not self._read_only:
                self.commit()
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
        """Change all that is changed inside, or nothing.

        `durable` waits for the disk; else it may be written later, with what comes after. SQLite
        computes each row's digest as it is written.
        """
        with _explained(self._path):
            if not self._db.in_transaction:
                self._begin(durable)
            self._db.execute("SAVEPOINT piece")
            try:
                yield self._db
                self._db.execute("RELEASE piece")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK TO piece")
                    self._db.execute("RELEASE piece")
                else:  # after the gravest errors SQLite itself drops all that was collected
                    self._lost()
                raise
            if durable or time.monotonic() - self._begun_s >= self._every_s:
                self.commit()

    def _begin(self, durable: bool) -> None:
        if self._log_bytes() > SETTLED_BYTES:
            self._settle()
        if not self._every_s:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._db.execute("BEGIN IMMEDIATE")
        self._begun_s = time.monotonic()

    def commit(self) -> None:
        """Write what has been collected; raises `HomeError`, which leaves the journal as it was."""
        with _explained(self._path):
            if self._db.in_transaction:
                try:
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    self._lost()
                    raise
            self._journal.clear()

    def _lost(self) -> None:
        """Go on after all that was collected is gone."""
        self._on_loss()
        self._take_up_journal()

    def _take_up_journal(self) -> None:
        if not self._journal.empty:
            self._begin(durable=True)
            take_up(self._db, self._path)

    def append_own(self, entry: StoredEnvelope) -> None:
        """Add the next own envelope and wait for the disk."""
        with self.transaction(durable=not self._every_s) as db:
            insert_envelope(db, entry, own=True)
            if self._every_s:
                self._journal.append(entry)

    def rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; name its columns, since each table ends with the digest."""
        with _explained(self._path):
            return self._db.execute(query, values).fetchall()

    def each(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""
        with _explained(self._path):
            yield from self._db.execute(query)

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._log_path).st_size  # not by pathlib, which is slow: this is asked before every transaction
        except FileNotFoundError:
            return 0


def _place(path: Path, mode: str) -> str:
    return f"file:{quote(str(path))}?mode={mode}"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:  # SQLite's messages may quote damaged names
        raise HomeError(
            f"the pool {path} cannot be used ({error}); check that the disk has room, is writable and the file is whole"
        ) from error
