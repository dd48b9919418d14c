"""Sums of the pages of the store's file, so that `swarmd audit` finds any changed byte.

SQLite writes its file only when it moves the write-ahead log over ("checkpoint"), and the log has
checksums of its own. The sums are renewed right after each such move, before the log may be
overwritten. So this holds at every instruction: each page of the file has the sum that is kept for
it, or it is, byte for byte, a page of the log.

    pool.sqlite-sums    magic, page size (4 bytes, big-endian), 8 bytes for each page,
                        BLAKE2b of all that (16 bytes)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swarm.home import write_atomically

_MAGIC = b"swarmd pages 1\n\0"
_HEAD_BYTES = len(_MAGIC) + 4
_SUM_BYTES = 8
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class PageSums:
    """The size of a page in bytes, and the sums (8 bytes each) of page 1, 2, 3 and so on."""

    page_size: int
    sums: list[bytes]


def sums_path(pool: Path) -> Path:
    """Where the sums of a store's file are."""
    return pool.with_name(pool.name + "-sums")


def page_sum(page: bytes) -> bytes:
    """The sum (8 bytes) of one page."""
    return hashlib.blake2b(page, digest_size=_SUM_BYTES).digest()


def read_sums(pool: Path) -> PageSums | None:
    """The sums of a store's file; None without their file, or when it is not as it was written."""
    content = _read(pool)
    if content is None:
        return None
    page_size = int.from_bytes(content[len(_MAGIC) : _HEAD_BYTES], "big")
    return PageSums(page_size, [content[at : at + _SUM_BYTES] for at in range(_HEAD_BYTES, len(content), _SUM_BYTES)])


def _read(pool: Path) -> bytes | None:
    """Return the head and the sums as they were written, or None."""
    try:
        data = sums_path(pool).read_bytes()
    except FileNotFoundError:
        return None
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    return content if content.startswith(_MAGIC) and _digest(content) == digest else None


def renew_sums(pool: Path, page_size: int, changed: Iterable[int]) -> None:
    """Take the sums of new pages and of the `changed` ones (numbered from 1) from the file.

    Raises `HomeError` or `OSError` when the file cannot be read or the sums cannot be written.
    """
    head = _MAGIC + page_size.to_bytes(4, "big")
    kept = _read(pool)
    # One array of bytes, not a list of sums: a store may have millions of pages.
    content = bytearray(kept if kept is not None and kept.startswith(head) else head)
    with pool.open("rb", buffering=0) as file:
        count = os.fstat(file.fileno()).st_size // page_size
        held = (len(content) - _HEAD_BYTES) // _SUM_BYTES
        end = _HEAD_BYTES + count * _SUM_BYTES
        content = content[:end].ljust(end, b"\0")
        for number in sorted({*changed, *range(held + 1, count + 1)}):
            if number <= count:
                at = _HEAD_BYTES + (number - 1) * _SUM_BYTES
                page = os.pread(file.fileno(), page_size, (number - 1) * page_size)
                content[at : at + _SUM_BYTES] = page_sum(page)
    write_atomically(sums_path(pool), bytes(content) + _digest(content))


def sweep(pool: Path) -> None:
    """Remove half-written sums that a killed writer has left; nobody may be writing now."""
    for path in pool.parent.glob(f".{sums_path(pool).name}-*"):
        path.unlink(missing_ok=True)


def _digest(content: bytes | bytearray) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
