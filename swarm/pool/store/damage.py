"""Which bytes of a store are not those that were written: the search for damage, from the bytes up to the rows.

    -wal     every frame of SQLite's write-ahead log against its chained checksum; SQLite itself drops what fails, without a word
    -sums    against their own digest
    file     every page against its sum, or against the log, which it may have been moved over from
    rows     SQLite's own check of trees and indexes, then every row against its seal

A page may be damaged on the disk, be read, and be written again with the damage in it: its new sum is right then, and the
seal of the row still tells. What nothing refers to is left out: the unfinished write at the end of a log after a kill or a
full disk (said in `notes`), and `-shm`, which SQLite makes anew. Nothing here writes to the store; rows are read from a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from swarm.errors import HomeError
from swarm.pool.store.pages import FRAME_HEADER, SUM_BYTES, WAL_HEADER, page_sum, read_sums, sums_path, wal_path
from swarm.pool.store.tables import COLUMNS, SCHEMA_VERSION, row_digest, teach

_LITTLE, _BIG = 0x377F0682, 0x377F0683  # the log's magic says the byte order of its checksums
_WAL_VERSION = 3007000
_DATABASE_HEADER = 100
# What SQLite's Python face raises over damaged pages; a message or name may quote bytes that are no text.
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
_SAID = 20  # of many damaged things of one kind, so many are named


@dataclass(frozen=True, slots=True)
class Damage:
    """What is not as it was written: the file, the place in it ("page 7 (of groups)", "row 12 of groups"), and what is wrong."""

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


class DatabaseCopy:
    """A copy of a store and its log, to be asked; damaged text reads as `surrogateescape`."""

    def __init__(self, pool: Path, db: sqlite3.Connection) -> None:
        self.pool = pool
        self.db = db
        self.damaged: set[tuple[str, int]] = set()
        self.unreadable: set[str] = set()

    def rows(self, table: str, columns: str, tail: str = "", values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a table, but for those in which `search` found damage. Raises `HomeError` where SQLite cannot read on."""
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
            yield DatabaseCopy(pool, db)


def search(copy: DatabaseCopy) -> Search:
    """Look through the files of a store at rest, and through the rows of their copy."""
    found, pool, db = Search(), copy.pool, copy.db
    try:
        page_size = _page_size(pool)
        committed = _frames(pool, page_size, found)
        bad = _pages(pool, page_size, committed, found)
        owners = _owners(db) if bad else {}
        for number in bad:
            owner = f" ({owners[number]})" if number in owners else ""
            found.damage.append(Damage(pool.name, f"page {number}{owner}", "is not the page that was written"))
        _rows(copy, found)
    except _UNREADABLE as error:
        copy.unreadable.update(COLUMNS)
        found.damage.append(Damage(pool.name, "as a whole", f"SQLite cannot read it: {error}"))
    except OSError as error:
        raise HomeError(f"cannot read {error.filename}: {error.strerror or error}") from None
    return found


def _page_size(pool: Path) -> int:
    """By the sums, which are checked, rather than by the file's header, which may be damaged."""
    if (sums := read_sums(pool)) is not None:
        return sums[0]
    with pool.open("rb") as file:
        size = int.from_bytes(file.read(_DATABASE_HEADER)[16:18], "big")
    return size if size >= 512 and size & (size - 1) == 0 else 4096


def _frames(pool: Path, page_size: int, found: Search) -> dict[int, set[bytes]]:
    """Check the log; for each page, the sums of all its versions in transactions that were finished."""
    log = wal_path(pool)
    data = log.read_bytes() if log.exists() else b""
    if not data:
        return {}
    if len(data) < WAL_HEADER:
        found.notes.append(f"{log.name} ends in an unfinished write of {len(data)} bytes")
        return {}
    magic, version, size, _, salt, _, one, two = struct.unpack(">8I", data[:WAL_HEADER])
    order = {_LITTLE: "<", _BIG: ">"}.get(magic, "")
    state = _checksum(data[:24], order, (0, 0)) if order else (0, 0)
    if not order or version != _WAL_VERSION or size != page_size or state != (one, two):
        found.damage.append(Damage(log.name, "header", "is not the header that was written; what the log held is lost"))
        return {}
    committed: dict[int, set[bytes]] = {}
    pending: dict[int, set[bytes]] = {}
    for number, start in enumerate(range(WAL_HEADER, len(data), FRAME_HEADER + page_size), 1):
        frame = data[start : start + FRAME_HEADER + page_size]
        if len(frame) < FRAME_HEADER + page_size:
            found.notes.append(f"{log.name} ends in an unfinished write of {len(frame)} bytes")
            break
        page, size_after, *_ = struct.unpack(">2I", frame[:8])
        state = _checksum(frame[FRAME_HEADER:], order, _checksum(frame[:8], order, state))
        salted, summed = frame[8:16] == data[16:24], state == struct.unpack(">2I", frame[16:24])
        if not salted and not summed:
            if struct.unpack(">I", frame[8:12])[0] == (salt - 1) % 2**32:
                found.notes.append(f"{log.name} has frames of an earlier log after frame {number - 1}")
            else:
                found.damage.append(Damage(log.name, f"frame {number}", "is neither of this log nor of the one before"))
            break
        if not (salted and summed):
            found.damage.append(
                Damage(
                    log.name, f"frame {number} (page {page})", "is not the frame that was written; it and all after it are lost"
                )
            )
            break
        found.frames += 1
        pending.setdefault(page, set()).add(page_sum(frame[FRAME_HEADER:]))
        if size_after:
            for each, sums in pending.items():
                committed.setdefault(each, set()).update(sums)
            pending = {}
    if pending:
        found.notes.append(f"{log.name} ends in a transaction that was not finished")
    return committed


def _checksum(data: bytes, order: str, state: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum of the log: over pairs of 32-bit words, a += word + b; b += word + a."""
    a, b = state
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, two in zip(words, words, strict=True):
        a = (a + one + b) & 0xFFFFFFFF
        b = (b + two + a) & 0xFFFFFFFF
    return a, b


def _pages(pool: Path, page_size: int, committed: dict[int, set[bytes]], found: Search) -> list[int]:
    """The numbers of the pages that are neither what was summed nor what the log holds."""
    sums, bad = read_sums(pool), []
    size = pool.stat().st_size
    if sums is None:
        # The very first page is made before there are sums; a kill then leaves none.
        if sums_path(pool).exists():
            found.damage.append(Damage(sums_path(pool).name, "as a whole", "is not the file that was written"))
        elif size > page_size:
            found.damage.append(Damage(sums_path(pool).name, "as a whole", "is missing, so that pages cannot be checked"))
        return []
    kept, count = sums[1], size // page_size
    if size % page_size or count < len(kept) // SUM_BYTES:
        found.damage.append(Damage(pool.name, "as a whole", f"has {size} bytes, not {len(kept) // SUM_BYTES * page_size}"))
    with pool.open("rb") as file:
        for number in range(1, count + 1):
            actual = page_sum(file.read(page_size))
            found.pages += 1
            if actual != kept[(number - 1) * SUM_BYTES : number * SUM_BYTES] and actual not in committed.get(number, ()):
                bad.append(number)
    return bad


def _owners(db: sqlite3.Connection) -> dict[int, str]:
    """Which table or index each page belongs to, where this SQLite can tell."""
    try:
        return {page: f"of {name}" for page, name in db.execute("SELECT pageno, name FROM dbstat")}
    except _UNREADABLE:
        return {}


def _rows(copy: DatabaseCopy, found: Search) -> None:
    pool, db = copy.pool, copy.db
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        copy.unreadable.update(COLUMNS)
        found.damage.append(Damage(pool.name, "header", f"says schema {version}, not {SCHEMA_VERSION}"))
        return
    teach(db)
    for (said,) in db.execute(f"PRAGMA integrity_check({_SAID})"):
        if said != "ok":
            found.damage.append(Damage(pool.name, "trees", said))
    for table, columns in COLUMNS.items():
        try:
            _sealed(copy, table, columns, found)
        except _UNREADABLE as error:
            copy.unreadable.add(table)
            found.damage.append(Damage(pool.name, f"table {table}", f"SQLite cannot read it: {error}"))


def _sealed(copy: DatabaseCopy, table: str, columns: tuple[str, ...], found: Search) -> None:
    for row in copy.db.execute(f"SELECT rowid, seal, {', '.join(columns)} FROM {table}"):  # noqa: S608 - our own names
        number, sealed, *values = row
        found.rows += 1
        if sealed != row_digest(table, *values):
            name = _name(dict(zip(columns, values, strict=True)))
            copy.damaged.add((table, number))
            found.damage.append(Damage(copy.pool.name, f"row {number} of {table}{name}", "is not the row that was written"))


def _name(row: dict[str, Any]) -> str:
    """What tells a row from the others, as far as it can be read."""
    said = [
        f"{key} {value.hex()[:16] if isinstance(value, bytes) else value!r}"
        for key in ("signer", "sequence", "epoch", "item", "reason")
        if (value := row.get(key)) is not None
    ]
    return f" ({', '.join(said)})" if said else ""
