"""The signers' logs in the store: what is held, what is missing, how a new envelope fits.

A log is complete when nothing lies between its first and its last envelope. Gossip brings envelopes
late, twice, in any order or not at all, so a new one is compared with its neighbours on both sides:
the one before it must have the id that it names, the one after it must name its id.

Not all that is missing is wanted: what comes after everything held is always wanted, while gaps and
older beginnings are wanted only as long as the pool has room. Otherwise a full pool, which drops
what it received longest ago, would fetch the same envelopes for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from protocols.envelope import Envelope, open_envelope
from protocols.limits import MAX_LOG_BYTES, MAX_LOG_ENVELOPES
from protocols.reasons import Reason
from protocols.sync import Head
from swarm.config.schema import PoolSection
from swarm.pool.store.store import Store

# An answer's own framing: an array's head, and a binary's head for each envelope.
_ARRAY_BYTES = 3
_BINARY_BYTES = 5


@dataclass(frozen=True, slots=True)
class Placed:
    """How an envelope fits its signer's log.

    Gives a reason against it or None, and the held envelope (bytes) that it contradicts.
    """

    reason: Reason | None
    rival: bytes | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive sequence numbers of one signer: `first .. first + count - 1`."""

    key: bytes
    first: int
    count: int


def place(store: Store, envelope: Envelope) -> Placed:
    """Compare an envelope with what is held of its signer's log."""
    key, sequence = envelope.key, envelope.sequence
    held = {
        at: (id_, raw)
        for at, id_, raw in store.rows(
            "SELECT sequence, id, envelope FROM envelopes WHERE signer = ? AND sequence BETWEEN ? AND ?",
            (key, sequence - 1, sequence + 1),
        )
    }
    if sequence in held:
        id_, raw = held[sequence]
        return Placed(Reason.DUPLICATE) if id_ == envelope.id else Placed(Reason.EQUIVOCATION, raw)
    if sequence - 1 in held and held[sequence - 1][0] != envelope.previous:
        return Placed(Reason.CHAIN)
    if sequence + 1 in held and open_envelope(held[sequence + 1][1], envelope.swarm).previous != envelope.id:
        return Placed(Reason.CHAIN)
    return Placed(None)


def heads(store: Store, start: bytes, count: int) -> list[Head]:
    """What is held of the logs of `count` signers from the key `start` on, the own one included."""
    rows = store.rows(
        # From signer to signer by the index: grouping would read every envelope, for any peer that
        # asks.
        """
        WITH RECURSIVE signers (signer) AS (
            SELECT MIN(signer) FROM envelopes WHERE signer >= ?1
            UNION ALL
            SELECT (SELECT MIN(signer) FROM envelopes WHERE signer > signers.signer) FROM signers
            WHERE signer IS NOT NULL LIMIT ?2
        )
        SELECT signer, (SELECT MIN(sequence) FROM envelopes WHERE signer = signers.signer), sequence, id
        FROM signers JOIN envelopes USING (signer)
        WHERE sequence = (SELECT MAX(sequence) FROM envelopes WHERE signer = signers.signer) ORDER BY signer
        """,
        (start, count),
    )
    return [Head(*row) for row in rows]


def stretch(store: Store, key: bytes, first: int, count: int) -> list[bytes]:
    """The held ones of a signer's envelopes `first .. first + count - 1`.

    Gives as many as one answer holds, from the lowest number on.
    """
    where = "FROM envelopes WHERE signer = ? AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
    place = (key, first, first + count - 1)
    # The sizes first: a peer must not make this node read 256 of the largest envelopes to send one
    # of them.
    sizes = store.rows(f"SELECT LENGTH(envelope) {where}", (*place, MAX_LOG_ENVELOPES))
    fitting = sum(size <= MAX_LOG_BYTES - _ARRAY_BYTES for size in accumulate(size + _BINARY_BYTES for (size,) in sizes))
    return [raw for (raw,) in store.rows(f"SELECT envelope {where}", (*place, fitting))]


def missing(store: Store, offered: Sequence[Head], *, backwards: bool) -> list[Stretch]:
    """The parts of the offered logs that are not held and are wanted.

    These are the newest end of each log, and with `backwards` also its gaps and its beginning.
    """
    wanted: list[Stretch] = []
    for head in offered:
        bounds = (head.key, head.first, head.last)
        ((held,),) = store.rows("SELECT COUNT(*) FROM envelopes WHERE signer = ? AND sequence BETWEEN ? AND ?", bounds)
        if held == head.last - head.first + 1:
            continue
        ((newest,),) = store.rows("SELECT MAX(sequence) FROM envelopes WHERE signer = ?", (head.key,))
        at = store.rows("SELECT sequence FROM envelopes WHERE signer = ? AND sequence BETWEEN ? AND ? ORDER BY sequence", bounds)
        edges = [head.first - 1, *(sequence for (sequence,) in at), head.last + 1]
        gaps = [Stretch(head.key, one + 1, other - one - 1) for one, other in pairwise(edges) if other - one > 1]
        wanted += [gap for gap in gaps if backwards or newest is None or gap.first > newest]
    return wanted


def disputed(store: Store, offered: Sequence[Head]) -> list[Stretch]:
    """Heads whose number is held under another id: together the two envelopes prove a cheat."""
    return [
        Stretch(head.key, head.last, 1)
        for head in offered
        if (held := store.envelope_at(head.key, head.last)) is not None and held != head.id
    ]


def has_room(store: Store) -> bool:
    """Whether foreign envelopes take less than three quarters of the bytes that they may."""
    return store.foreign_bytes < 0.75 * store.max_bytes


def begin(path: Path, key: bytes) -> None:
    """Note in the pool at `path`, new or not, that the log of a new key begins here."""
    with closing(Store(path, PoolSection())) as store:
        note_if_whole(store, key)


def note_if_whole(store: Store, key: bytes) -> None:
    """Note that this pool holds the log of `key` from its beginning, if it does."""
    ((first,),) = store.rows("SELECT MIN(sequence) FROM envelopes WHERE signer = ?", (key,))
    if not first:
        with store.transaction(durable=True) as db:
            db.execute("INSERT OR IGNORE INTO beginnings VALUES (?)", (key,))


def begins_here(store: Store, key: bytes) -> bool:
    """Whether this pool knows the log of `key` from its beginning."""
    return bool(store.rows("SELECT 1 FROM beginnings WHERE key = ?", (key,)))
