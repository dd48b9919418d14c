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
    try:
        data = sums_path(pool).read_bytes()
    except FileNotFoundError:
        return None
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not content.startswith(_MAGIC) or _digest(content) != digest:
        return None
    page_size = int.from_bytes(content[len(_MAGIC) : _HEAD_BYTES], "big")
    return PageSums(page_size, [content[at : at + _SUM_BYTES] for at in range(_HEAD_BYTES, len(content), _SUM_BYTES)])


def renew_sums(pool: Path, page_size: int, changed: Iterable[int]) -> None:
    """Take the sums of new pages and of the `changed` ones (numbered from 1) from the file.

    Raises `HomeError` or `OSError` when the file cannot be read or the sums cannot be written.
    """
    kept = read_sums(pool)
    sums = kept.sums if kept is not None and kept.page_size == page_size else []
    with pool.open("rb", buffering=0) as file:
        count = os.fstat(file.fileno()).st_size // page_size
        stale = {*changed, *range(len(sums) + 1, count + 1)}
        sums = (sums + [b""] * count)[:count]
        for number in sorted(stale):
            if number <= count:
                sums[number - 1] = page_sum(os.pread(file.fileno(), page_size, (number - 1) * page_size))
    content = _MAGIC + page_size.to_bytes(4, "big") + b"".join(sums)
    write_atomically(sums_path(pool), content + _digest(content))


def sweep(pool: Path) -> None:
    """Remove half-written sums that a killed writer has left; nobody may be writing now."""
    for path in pool.parent.glob(f".{sums_path(pool).name}-*"):
        path.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
