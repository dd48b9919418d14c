"""The node's own log: every share becomes the next signed envelope, is flushed to the disk, and only then goes out.

The log may be `silent`: while it is not known where it ends (`swarm.exchange.recovery`), or for good once this key has signed two
histories. Then nothing is signed, and the node goes on learning. Whoever moves the log's end holds `one` meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import trio

from protocols.envelope import NO_PREVIOUS, Envelope, open_envelope, seal
from protocols.limits import MAX_INLINE_BODY_BYTES
from protocols.manifest import Manifest, epoch_of
from protocols.messages import Announce, Body, Kind, Proof, RolloutGroup, Share, pack_body
from protocols.reasons import ProtocolError
from swarm.errors import NetworkError
from swarm.identity import Identity
from swarm.net.network import Network
from swarm.pool.pool import Pool
from swarm.pool.store import proofs
from swarm.pool.store.logs import share_in
from swarm.pool.store.store import Store, StoredEnvelope
from swarm.records import ScoredGroup
from swarm.roles.proposer import Proposed

if TYPE_CHECKING:
    from swarm.node.node import Node

logger = logging.getLogger(__name__)

# Own envelopes from elsewhere that wait to be looked at; the rest is fetched from peers.
MAX_STRANGE = 64
FORKED = "this key has signed two histories of its log, so peers refuse it for good; make a new identity: swarmd init"
# Everybody who hears both envelopes of an equivocation finds the proof at about the same time. Each waits a while of its own
# before it publishes; the first one's envelope silences the others, as in scalable reliable multicast (Floyd et al., 1995).
PROOF_WAIT_S = (2.0, 12.0)
# The own log is kept for good, and whoever makes keys can make proofs: so much of it may go to them.
PROOF_BYTES_PER_S = 2048


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
        self.position = position
        self.one = trio.Lock()
        self.silent = ""
        self.doubted = trio.Event()
        self.strange: list[tuple[str, Envelope]] = []

    def doubt(self, why: str, strange: tuple[str, Envelope] | None = None) -> None:
        """Sign nothing more until peers were asked for this log; first who gave a `strange` envelope of it, not held here."""
        if self.silent != FORKED:
            if why and why != self.silent:
                logger.log(logging.WARNING if strange else logging.INFO, "%s", why)
            self.silent = why
            self.doubted.set()
            if strange and len(self.strange) < MAX_STRANGE:
                self.strange.append(strange)

    def fork(self) -> None:
        """Sign nothing more, ever."""
        if self.silent != FORKED:
            logger.error("%s", FORKED)
        self.silent = FORKED

    async def append(self, share: Share, groups: Sequence[ScoredGroup], now_ms: int) -> bytes:
        """Sign and keep a share with its groups; the bytes to publish. Raises ProtocolError for one that peers would refuse."""
        packed = pack_body(share)
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

        # Whatever ends a round meanwhile: an envelope that is kept and not counted would be contradicted by the next one.
        with trio.CancelScope(shield=True):
            await self._pool.run(keep)
        self.position = Position(envelope.sequence + 1, envelope.id, share.epoch, share.first_index + share.count)
        return entry.envelope

    async def append_other(self, body: Body, now_ms: int) -> Envelope:
        """Sign and keep a body that is no share. Raises ProtocolError when it does not fit into an envelope."""
        envelope = self._seal(body, now_ms)
        with trio.CancelScope(shield=True):
            await self._pool.run(lambda store: store.append_own(entry_of(envelope, now_ms)))
        self.position = replace(self.position, sequence=envelope.sequence + 1, previous=envelope.id)
        return envelope

    def _seal(self, body: Body, now_ms: int) -> Envelope:
        end = self.position
        return seal(self._identity.private_key, end.sequence, end.previous, now_ms, body, self._swarm)


def entry_of(envelope: Envelope, now_ms: int, body: bytes | None = None) -> StoredEnvelope:
    """An envelope, with the body it announces where that is at hand, as the store keeps it."""
    body_hash = None if body is None else hashlib.sha256(body).digest()
    return StoredEnvelope(envelope.id, envelope.key, envelope.sequence, now_ms, envelope.to_bytes(), body_hash, body)


def position(store: Store, manifest: Manifest) -> Position:
    """Where the log in this store ends. Its last share tells how far the indices were used."""
    newest = store.newest_own()
    if newest is None:
        return Position(0, NO_PREVIOUS, 0, 0)
    epoch, next_index = 0, 0
    for entry in store.own_log(newest_first=True):
        envelope = open_envelope(entry.envelope, manifest.id)
        share = share_in(envelope, entry.body)
        if share is not None:
            epoch, next_index = share.epoch, share.first_index + share.count
            break
        if envelope.kind == Kind.ANNOUNCE:
            # Its body is lost, so nobody knows which indices it took: none are left of its epoch.
            epoch, next_index = epoch_of(manifest, envelope.time_ms), manifest.tasks_per_epoch
            break
    return Position(newest.sequence + 1, newest.id, epoch, next_index)


async def publish_proofs(node: Node, network: Network) -> None:
    """Put each proof of equivocation that no log holds yet into the own log, and publish it."""
    random = Random(f"proofs/{node.seed}")
    while True:
        await trio.sleep(random.uniform(*PROOF_WAIT_S))
        if await node.pool.run(lambda store: proofs.against(store, node.identity.public_key)):
            node.log.fork()
        proof = await node.pool.run(proofs.not_carried)
        if proof is not None and not node.log.silent:
            await _publish_proof(node, network, proof)
            await trio.sleep((len(proof.one) + len(proof.other)) / PROOF_BYTES_PER_S)


async def _publish_proof(node: Node, network: Network, proof: Proof) -> None:
    envelope, carrier = None, proofs.CANNOT_TRAVEL
    async with node.log.one:
        if node.log.silent:
            return
        try:
            envelope = await node.log.append_other(proof, node.clock.now_ms())
            carrier = envelope.id
        except ProtocolError as error:
            # Two proofs under one number do not fit into a third; every node that saw both acts on its own.
            logger.warning("a proof of equivocation cannot be passed on: %s", error)
    await node.pool.run(lambda store: proofs.carried(store, proof, carrier))
    if envelope is not None:
        try:
            await network.publish(envelope.to_bytes())
        except NetworkError as error:
            logger.warning("a proof of equivocation was not published, peers find it in this node's log: %s", error)


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
