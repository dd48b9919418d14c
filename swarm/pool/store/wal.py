"""Check SQLite's write-ahead log frame by frame.

SQLite itself drops the first bad frame and all after it, without a word.

    header    magic, version, page size, count, two salts, checksum (8 bytes)
    frame     page number, pages of the file after a commit (else 0), the salts,
              checksum of all so far (8 bytes), the page

https://www.sqlite.org/fileformat2.html#walformat
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from swarm.pool.store.page_sums import page_sum

HEADER_BYTES, FRAME_BYTES = 32, 24  # FRAME_BYTES without the page
_BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # of the checksums, by the magic
_VERSION = 3007000


@dataclass
class LogReading:
    """What a log holds.

    `frames` counts the good ones, `sums` are each page's contents in finished transactions.

    `damage` is a place and what is wrong with it, `note` the remains of a kill: at most one of
    each.
    """

    frames: int = 0
    sums: dict[int, set[bytes]] = field(default_factory=dict)
    damage: tuple[str, str] | None = None
    note: str | None = None


def wal_path(pool: Path) -> Path:
    """The write-ahead log of a store's file."""
    return pool.with_name(pool.name + "-wal")


def pages_in_log(pool: Path, page_size: int) -> set[int]:
    """The numbers of the pages that the log holds, and maybe of some that it held earlier."""
    try:
        with wal_path(pool).open("rb", buffering=0) as file:
            frames = range(HEADER_BYTES, os.fstat(file.fileno()).st_size - FRAME_BYTES, FRAME_BYTES + page_size)
            return {int.from_bytes(os.pread(file.fileno(), 4, place), "big") for place in frames}
    except FileNotFoundError:
        return set()


def read_wal(pool: Path) -> LogReading:
    """Check the log of a store at rest. Raises `OSError` when it cannot be read."""
    path, found = wal_path(pool), LogReading()
    data = path.read_bytes() if path.exists() else b""
    if len(data) < HEADER_BYTES:
        found.note = f"ends in an unfinished write of {len(data)} bytes" if data else None
        return found
    magic, version, page_size, _, salt, *_ = struct.unpack(">8I", data[:HEADER_BYTES])
    order, state = _BYTE_ORDERS.get(magic, ">"), struct.unpack(">2I", data[24:HEADER_BYTES])
    if magic not in _BYTE_ORDERS or version != _VERSION or _checksum(data[:24], order, (0, 0)) != state:
        found.damage = "header", "is not the header that was written; what the log held is lost"
        return found
    pending: dict[int, set[bytes]] = {}
    for number, start in enumerate(range(HEADER_BYTES, len(data), FRAME_BYTES + page_size), 1):
        frame, page = data[start : start + FRAME_BYTES], data[start + FRAME_BYTES : start + FRAME_BYTES + page_size]
        if len(page) < page_size:
            found.note = f"ends in an unfinished write of {len(frame) + len(page)} bytes"
            return found
        page_number, size_after, its_salt = struct.unpack(">3I", frame[:12])
        state = _checksum(page, order, _checksum(frame[:8], order, state))
        # The checksum leaves the salts out. Each new log counts the first one up, and overwrites
        # the log before.
        salted, summed = frame[8:16] == data[16:24], frame[16:] == struct.pack(">2I", *state)
        if not salted and not summed and its_salt == (salt - 1) % 2**32:
            found.note = f"has frames of an earlier log after frame {number - 1}"
            return found
        if not (salted and summed):
            place = f"frame {number} (page {page_number})"
            found.damage = place, "is not the frame that was written; it and all after it are lost"
            return found
        found.frames += 1
        pending.setdefault(page_number, set()).add(page_sum(page))
        if size_after:
            for each, sums in pending.items():
                found.sums.setdefault(each, set()).update(sums)
            pending = {}
    if pending:
        found.note = "ends in a transaction that was not finished"
    return found


def _checksum(data: bytes, order: str, state: tuple[int, ...]) -> tuple[int, ...]:
    """SQLite's checksum: over pairs of 32-bit words, a += word + b; b += word + a."""
    a, b = state
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for one, two in zip(words, words, strict=True):
        a = (a + one + b) & 0xFFFFFFFF
        b = (b + two + a) & 0xFFFFFFFF
    return a, b
