"""Find the bytes of a store that have changed, from the files up to the rows.

    log          every frame against its checksum (`wal`); SQLite skips damaged ones in silence
    journal      every own envelope that is not in the file yet against its sum (`journal`)
    sums         against their own digest
    pages        every page of the file against its sum (`page_sums`), or against the log
    trees, rows  SQLite's `integrity_check`, then every row against its digest (`tables`)

None of them can be left out. Of 300 random bits flipped in a store with deleted rows and 12 of
72 transactions still in its log, the row digests find 51 % in the file and `integrity_check` 5 %;
all are found by the page sums, 47 % by them alone: free pages, unused ends of pages, fields of the
header. Every flip in the log is found by its checksums, and by nothing else. But a page that is
damaged on the disk may be read and written again with the damage in it. Its new sum is right then,
and only the digest of the row or `integrity_check` tells.

Nothing refers to the unfinished write at the end of a log after a kill or a full disk, which is
said in `notes`, nor to `-shm`, which SQLite makes anew. Nothing here writes to the store; rows are
read from a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from swarm.errors import HomeError
from swarm.pool.store.journal import journal_path, read_journal, take_up
from swarm.pool.store.page_sums import page_sum, read_sums, sums_path
from swarm.pool.store.tables import COLUMNS, SCHEMA_VERSION, row_digest, teach
from swarm.pool.store.wal import read_wal, wal_path

# What SQLite's Python face raises over damaged pages; a message or name may quote bytes that are no
# text.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
_LARGEST_PAGE = 65_536  # bytes
_SAID = 20  # faults that `integrity_check` names at most


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that has changed.

    Names the file, the place in it ("page 7", "row 12 of groups") and the fault.
    """

    file: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}, {self.place}: {self.what}"


@dataclass
class Search:
    """What was looked at, and what was found."""

    pages: int = 0
    frames: int = 0
    rows: int = 0
    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def found(self, file: Path, place: str, what: str) -> None:
        """Note damage."""
        self.damage.append(Damage(file.name, place, what))


class DatabaseCopy:
    """A copy of a store and its log, open for reading; damaged text reads as `surrogateescape`."""

    def __init__(self, pool: Path, db: sqlite3.Connection) -> None:
        self.pool = pool
        self.db = db
        self.damaged: set[tuple[str, int]] = set()
        self.unreadable: set[str] = set()

    def rows(self, table: str, columns: str, tail: str = "", values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The undamaged rows of a table, once `search` has run.

        Raises `HomeError` where SQLite cannot read on.
        """
        if table in self.unreadable:
            return
        try:
            for number, *row in self.db.execute(f"SELECT rowid, {columns} FROM {table} {tail}", values):  # noqa: S608 - our own names
                if (table, number) not in self.damaged:
                    yield tuple(row)
        except _UNREADABLE as error:
            raise HomeError(f"SQLite cannot read {self.pool.name}: {error}") from None


@contextmanager
def copied(pool: Path) -> Iterator[DatabaseCopy]:
    """A copy of the store as it is now, which must be at rest."""
    with TemporaryDirectory(prefix="swarmd-audit-") as folder:
        copy = Path(folder) / "pool.sqlite"
        try:
            shutil.copyfile(pool, copy)
            if wal_path(pool).exists():
                shutil.copyfile(wal_path(pool), wal_path(copy))
        except OSError as error:
            raise HomeError(f"cannot copy {pool} to look at it: {error.strerror or error}; free space in {folder}") from None
        with closing(sqlite3.connect(f"file:{quote(str(copy))}", uri=True, isolation_level=None)) as db:
            db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            with suppress(*_UNREADABLE):  # `search` says so
                teach(db)
                take_up(db, pool)
            yield DatabaseCopy(pool, db)


def search(copy: DatabaseCopy) -> Search:
    """Look through the files of a store at rest, and through the rows of their copy."""
    result = Search()
    try:
        _search_files(copy.pool, result)
        _search_rows(copy, result)
    except _UNREADABLE as error:
        copy.unreadable.update(COLUMNS)
        result.found(copy.pool, "as a whole", f"SQLite cannot read it: {error}")
    except OSError as error:
        raise HomeError(f"cannot read {error.filename}: {error.strerror or error}") from None
    return result


def _search_files(pool: Path, result: Search) -> None:
    log = read_wal(pool)
    result.frames = log.frames
    if log.damage is not None:
        result.found(wal_path(pool), *log.damage)
    if log.note is not None:
        result.notes.append(f"{wal_path(pool).name} {log.note}")
    journal = read_journal(pool)
    if journal.damage is not None:
        result.found(journal_path(pool), *journal.damage)
    if journal.note is not None:
        result.notes.append(f"{journal_path(pool).name} {journal.note}")
    kept, size = read_sums(pool), pool.stat().st_size
    if kept is None:
        if sums_path(pool).exists():
            result.found(sums_path(pool), "as a whole", "is not the file that was written")
        elif size > _LARGEST_PAGE:  # the very first page is made before there are sums; a kill then leaves none
            result.found(sums_path(pool), "as a whole", "is missing, so that pages cannot be checked")
        return
    result.pages = size // kept.page_size
    if size % kept.page_size or result.pages < len(kept.sums):
        result.found(pool, "as a whole", f"has {size} bytes, not {len(kept.sums) * kept.page_size}")
    with pool.open("rb") as file:
        for number in range(1, result.pages + 1):
            actual = page_sum(file.read(kept.page_size))
            if actual not in kept.sums[number - 1 : number] and actual not in log.sums.get(number, ()):
                result.found(pool, f"page {number}", "is not the page that was written")


def _search_rows(copy: DatabaseCopy, result: Search) -> None:
    (version,) = copy.db.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        copy.unreadable.update(COLUMNS)
        result.found(copy.pool, "header", f"says schema {version}, not {SCHEMA_VERSION}")
        return
    teach(copy.db)
    for (said,) in copy.db.execute(f"PRAGMA integrity_check({_SAID})"):
        if said != "ok":
            result.found(copy.pool, "trees", said)
    for table, columns in COLUMNS.items():
        try:
            _check_digests(copy, table, columns, result)
        except _UNREADABLE as error:
            copy.unreadable.add(table)
            result.found(copy.pool, f"table {table}", f"SQLite cannot read it: {error}")


def _check_digests(copy: DatabaseCopy, table: str, columns: tuple[str, ...], result: Search) -> None:
    query = f"SELECT rowid, seal, {', '.join(columns)} FROM {table}"  # noqa: S608 - our own names
    for number, digest, *values in copy.db.execute(query):
        result.rows += 1
        if digest != row_digest(table, *values):
            copy.damaged.add((table, number))
            result.found(copy.pool, f"row {number} of {table}", "is not the row that was written")
