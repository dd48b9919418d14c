"""Sums of the pages of the store's file, kept beside it: what is neither a row nor in the write-ahead log can be checked as well.

SQLite writes its file only when it moves the write-ahead log over ("checkpoint"), and the log carries checksums of its own. So
the sums are renewed right after each such move, before the log may be overwritten, and this holds at every instruction:
each page of the file has the sum that is kept for it, or it is, byte for byte, a page of the log.

    pool.sqlite-sums    magic, page size (4 bytes, big-endian), 8 bytes for each page, BLAKE2b of all that (16 bytes)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from swarm.home import write_atomically

MAGIC = b"swarmd pages 1\n\0"
SUM_BYTES = 8
WAL_HEADER, FRAME_HEADER = 32, 24
_DIGEST_BYTES = 16


def sums_path(pool: Path) -> Path:
    """Where the sums of a store's file are."""
    return pool.with_name(pool.name + "-sums")


def wal_path(pool: Path) -> Path:
    """SQLite's write-ahead log of a store's file."""
    return pool.with_name(pool.name + "-wal")


def page_sum(page: bytes) -> bytes:
    """The sum (8 bytes) of one page."""
    return hashlib.blake2b(page, digest_size=SUM_BYTES).digest()


def read_sums(pool: Path) -> tuple[int, bytearray] | None:
    """(page size, the sums one after another); None when there are none, or not whole ones."""
    try:
        data = sums_path(pool).read_bytes()
    except FileNotFoundError:
        return None
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    start = len(MAGIC) + 4
    if not content.startswith(MAGIC) or _digest(content) != digest or (len(content) - start) % SUM_BYTES:
        return None
    return int.from_bytes(content[len(MAGIC) : start], "big"), bytearray(content[start:])


def renew_sums(pool: Path, page_size: int, changed: Iterable[int]) -> None:
    """Take the sums of the changed pages (numbered from 1) and of new ones from the file. Raises `HomeError`, `OSError`."""
    kept = read_sums(pool)
    sums = kept[1] if kept is not None and kept[0] == page_size else bytearray()
    with pool.open("rb", buffering=0) as file:
        count = os.fstat(file.fileno()).st_size // page_size
        old = len(sums) // SUM_BYTES
        sums = sums[: count * SUM_BYTES] + bytes(max(count - old, 0) * SUM_BYTES)
        for number in sorted({*changed, *range(old + 1, count + 1)}):
            if number <= count:
                page = os.pread(file.fileno(), page_size, (number - 1) * page_size)
                sums[(number - 1) * SUM_BYTES : number * SUM_BYTES] = page_sum(page)
    content = MAGIC + page_size.to_bytes(4, "big") + sums
    write_atomically(sums_path(pool), content + _digest(content))


def sweep(pool: Path) -> None:
    """Remove half-written sums that a killed writer has left; nobody may be writing now."""
    for path in pool.parent.glob(f".{sums_path(pool).name}-*"):
        path.unlink(missing_ok=True)


def pages_in_log(pool: Path, page_size: int) -> set[int]:
    """The numbers of the pages that the write-ahead log holds, and maybe of some that it held earlier."""
    try:
        with wal_path(pool).open("rb", buffering=0) as file:
            frames = range(WAL_HEADER, os.fstat(file.fileno()).st_size - FRAME_HEADER, FRAME_HEADER + page_size)
            return {int.from_bytes(os.pread(file.fileno(), 4, place), "big") for place in frames}
    except FileNotFoundError:
        return set()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
