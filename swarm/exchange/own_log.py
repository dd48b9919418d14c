"""The node's own log: each share becomes the next signed envelope, goes to the disk, then to peers.

The log may be `silent`: while its end is unknown (recovery.py), or for good once this key has
signed two histories. Then nothing is signed, and the node goes on learning. Whoever moves the log's
end holds `one` meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import trio

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, seal, share_in
from protocols.limits import MAX_INLINE_BODY_BYTES
from protocols.manifest import Manifest, epoch_of
from protocols.messages import Announce, Body, Kind, RolloutGroup, Share, pack_body
from protocols.reasons import Reason
from swarm.context import Context
from swarm.pool.indices import IndexRange, Indices, Reached
from swarm.pool.pool import Pool
from swarm.pool.store import log_table
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.records import ScoredGroup

logger = logging.getLogger(__name__)

# Most own envelopes from elsewhere kept for a look; the rest is fetched from peers.
MAX_STRANGE = 64
ELSEWHERE = (
    "nothing is shared: this identity has signed an envelope that is not here; it runs twice, or an old backup was restored"
)
FORKED = "this key has signed two histories of its log, so peers refuse it for good; make a new identity: swarmd init"


@dataclass(frozen=True, slots=True)
class Position:
    """The end of the own log: the next sequence number, and the id of the newest envelope."""

    sequence: int
    previous: bytes


class OwnLog:
    """One node's append-only log in one swarm. It owns the node's task `indices`: each share
    accounts for a range of them."""

    def __init__(self, context: Context, pool: Pool, position: Position, reached: Reached) -> None:
        self._context = context
        self._pool = pool
        self.position = position
        self.indices = Indices(reached)
        self.one = trio.Lock()
        self.silent = ""
        self.doubted = trio.Event()
        self.strange: list[tuple[str, Envelope]] = []

    def doubt(self, why: str, strange: tuple[str, Envelope] | None = None) -> None:
        """Stop signing until peers have said where this log ends. The peer that sent `strange` is
        asked first."""
        if self.silent != FORKED:
            if why and why != self.silent:
                logger.log(logging.WARNING if strange else logging.INFO, "%s", why)
            self.silent = why
            self.doubted.set()
            if strange and len(self.strange) < MAX_STRANGE:
                self.strange.append(strange)

    def fork(self) -> None:
        """Stop signing for good."""
        if self.silent != FORKED:
            logger.error("%s", FORKED)
        self.silent = FORKED

    async def append(self, share: Share, groups: Sequence[ScoredGroup]) -> bytes:
        """Sign and keep a share with its groups, and account for its indices. Returns the bytes to
        publish.

        Raises `ProtocolError` for a share that peers would refuse.
        """
        packed, now_ms = pack_body(share), self._context.now_ms()
        if len(packed) > MAX_INLINE_BODY_BYTES:
            body_hash = hashlib.sha256(packed).digest()
            envelope = self._seal(Announce(body_hash, len(packed)), now_ms)
            entry = entry_of(envelope, now_ms, packed)
        else:
            envelope = self._seal(share, now_ms)
            entry = entry_of(envelope, now_ms)
        carried = [replace(group, envelope=envelope.id) for group in groups]

        def keep(store: Store) -> None:
            store.append_own(entry)
            store.add_groups(carried, own=True)

        await self._keep(envelope, keep)
        # Only now: peers hold indices that no share accounts for against this node.
        self.indices.account(Reached(share.epoch, share.first_index + share.count))
        return entry.envelope

    async def append_other(self, body: Body) -> Envelope:
        """Sign and keep a body other than a share. Raises `ProtocolError` if it exceeds an
        envelope."""
        now_ms = self._context.now_ms()
        envelope = self._seal(body, now_ms)
        await self._keep(envelope, lambda store: store.append_own(entry_of(envelope, now_ms)))
        return envelope

    async def _keep(self, envelope: Envelope, write: Callable[[Store], None]) -> None:
        # Shielded: an envelope kept but not counted would be contradicted by the next one.
        with trio.CancelScope(shield=True):
            await self._pool.run(write)
        self.position = Position(envelope.sequence + 1, envelope.id)

    async def take_over(self, entry: StoredEnvelope, envelope: Envelope) -> Reason | None:
        """Keep a peer's copy of an own envelope, and continue behind it. Returns the reason if it
        does not fit the log held here."""

        def keep(store: Store) -> Reason | tuple[Position, Reached]:
            reason = log_table.place(store, envelope).reason
            if reason is not None:
                return reason
            store.append_own(entry)
            return end_of(store, self._context.manifest)

        async with self.one:
            # Shielded: the pool and the log's end must not come apart.
            with trio.CancelScope(shield=True):
                kept = await self._pool.run(keep)
            if isinstance(kept, Reason):
                return kept
            self.position, reached = kept
            self.indices.resume(reached)
        return None

    def _seal(self, body: Body, now_ms: int) -> Envelope:
        end = self.position
        return seal(self._context.identity.private_key, end.sequence, end.previous, now_ms, body, self._context.manifest.id)


def entry_of(envelope: Envelope, now_ms: int, body: bytes | None = None) -> StoredEnvelope:
    """Return an envelope as the store keeps it, with the announced body if that is at hand."""
    body_hash = None if body is None else hashlib.sha256(body).digest()
    return StoredEnvelope(envelope.id, envelope.key, envelope.sequence, now_ms, envelope.to_bytes(), body_hash, body)


async def open_log(context: Context, pool: Pool) -> OwnLog:
    """Return the own log that the pool holds."""
    position, reached = await pool.run(lambda store: end_of(store, context.manifest))
    return OwnLog(context, pool, position, reached)


def end_of(store: Store, manifest: Manifest) -> tuple[Position, Reached]:
    """Return the end of the log in this store, and the point in the indices that its last share
    reached."""
    newest = store.newest_own()
    if newest is None:
        return Position(0, NO_PREVIOUS), Reached(0, 0)
    reached = Reached(0, 0)
    for entry in store.own_log(newest_first=True):
        envelope = open_envelope(entry.envelope, manifest.id)
        share = share_in(envelope, entry.body)
        if share is not None:
            reached = Reached(share.epoch, share.first_index + share.count)
            break
        if envelope.kind == Kind.ANNOUNCE:
            # Its body is lost, and with it the indices it took: count all of its epoch as used.
            reached = Reached(epoch_of(manifest, envelope.time_ms), manifest.tasks_per_epoch)
            break
    return Position(newest.sequence + 1, newest.id), reached


def share_of(round: int, used: IndexRange, groups: Sequence[ScoredGroup]) -> Share:
    """Return a round's groups as a share for the wire."""
    return Share(
        round=round,
        epoch=used.epoch,
        first_index=used.first,
        count=used.count,
        groups=tuple(
            RolloutGroup(group.task.recipe, group.rendering, group.policy, group.completions, group.rewards) for group in groups
        ),
    )
