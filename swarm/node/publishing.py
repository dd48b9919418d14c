"""The node's own log: every share becomes the next signed envelope, is flushed to the disk, and only then goes out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, seal
from protocols.limits import MAX_INLINE_BODY_BYTES
from protocols.messages import Announce, Kind, RolloutGroup, Share, pack_body, unpack_body
from swarm.identity import Identity
from swarm.pool.pool import Pool
from swarm.pool.store import Store, StoredEnvelope
from swarm.records import ScoredGroup
from swarm.roles.proposer import Proposed


@dataclass(frozen=True, slots=True)
class Position:
    """Where the own log ends: the next sequence number, the newest envelope's id, and where its index range ended."""

    sequence: int
    previous: bytes
    epoch: int
    next_index: int


class OwnLog:
    """One node's append-only log in one swarm (`swarm` is its manifest's id)."""

    def __init__(self, identity: Identity, swarm: bytes, pool: Pool, position: Position) -> None:
        self._identity = identity
        self._swarm = swarm
        self._pool = pool
        self._sequence = position.sequence
        self._previous = position.previous

    async def append(self, share: Share, groups: Sequence[ScoredGroup], now_ms: int) -> bytes:
        """Sign and keep a share with its groups; the bytes to publish."""
        packed = pack_body(share)
        if len(packed) > MAX_INLINE_BODY_BYTES:
            body_hash = hashlib.sha256(packed).digest()
            envelope = self._seal(Announce(body_hash, len(packed)), now_ms)
            entry = _entry(envelope, now_ms, body_hash, packed)
        else:
            envelope = self._seal(share, now_ms)
            entry = _entry(envelope, now_ms, None, None)
        carried = [replace(group, envelope=envelope.id) for group in groups]

        def keep(store: Store) -> None:
            store.append_own(entry)
            store.add_groups(carried, own=True)

        await self._pool.run(keep)
        self._sequence += 1
        self._previous = envelope.id
        return entry.envelope

    def _seal(self, body: Share | Announce, now_ms: int) -> Envelope:
        return seal(self._identity.private_key, self._sequence, self._previous, now_ms, body, self._swarm)


def _entry(envelope: Envelope, now_ms: int, body_hash: bytes | None, body: bytes | None) -> StoredEnvelope:
    return StoredEnvelope(envelope.id, envelope.key, envelope.sequence, now_ms, envelope.to_bytes(), body_hash, body)


def position(store: Store, swarm: bytes) -> Position:
    """Where the log in this store ends."""
    newest = store.newest_own()
    if newest is None:
        return Position(0, NO_PREVIOUS, 0, 0)
    envelope = open_envelope(newest.envelope, swarm)
    share = unpack_body(Kind.SHARE, newest.body) if newest.body is not None else unpack_body(envelope.kind, envelope.body)
    assert isinstance(share, Share)  # noqa: S101 - an announced own body is kept beside its envelope
    return Position(envelope.sequence + 1, envelope.id, share.epoch, share.first_index + share.count)


def share_of(round: int, proposed: Proposed, groups: Sequence[ScoredGroup]) -> Share:
    """What travels of a round's groups."""
    return Share(
        round=round,
        epoch=proposed.epoch,
        first_index=proposed.first_index,
        count=proposed.count,
        groups=tuple(
            RolloutGroup(group.task.recipe, group.rendering, group.policy, group.completions, group.rewards) for group in groups
        ),
    )
