"""The gate of the pool: nothing from the network is believed.

The checks run from the cheapest to the dearest, and the first that fails names the refusal:

    screen   bytes      size, MessagePack, signature, schema (also GossipSub's validator)
    envelope history    own key, peer score, duplicate, equivocation, chain, time
    share    range      epoch, index range and continuity
    group    rules      proposer, environment and version, parameters, group size, rendering,
                        lengths
    verify   work       rebuild the task from its recipe, score every answer in a worker; the
                        claimed rewards must be ours

The peer score comes before the work, so that a signer who is not listened to costs no verification.
A group is refused alone; its envelope's other groups are judged on their own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import trio

from protocols.envelope import Envelope, open_envelope
from protocols.manifest import epoch_of
from protocols.messages import Announce, Proof, Share, unpack_share
from protocols.proof import check_proof, prove
from protocols.reasons import ProtocolError, Reason
from swarm.context import Context
from swarm.pool.admission.budgets import Budgets
from swarm.pool.admission.epochs import CLOCK_SKEW_MS
from swarm.pool.admission.opened import Opened, open_message
from swarm.pool.admission.pulls import FetchBody, Pulls
from swarm.pool.admission.refusal import CIRCUMSTANCES, AdmissionStatistics, Admitted, Counts, TurnedAway, checked
from swarm.pool.admission.shares import Shares
from swarm.pool.admission.verification import Rescore, Verification
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store import log_table, proof_table
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.records import Refusal, ScoredGroup

# The result for one body: the groups let in, and the refusals of others.
Judged = tuple[list[ScoredGroup], list[Refusal]]


class Admission:
    """The gate between the network and the pool: one message per signer at a time, several signers
    at once."""

    def __init__(
        self,
        context: Context,
        pool: Pool,
        standing: PeerScores,
        rescore: Rescore,
        fetch_body: FetchBody,
        beacon: Callable[[int], bytes | None],
    ) -> None:
        config = context.config
        self._context = context
        self._manifest = context.manifest
        self._swarm = context.manifest.id  # a hash of all rules, asked for with every message
        self._pool = pool
        self.standing = standing
        self._budgets = Budgets(context.clock)
        verification = Verification(rescore, self._budgets.verification, config.scoring.workers, verify=config.defences.verify)
        self._shares = Shares(context.manifest, pool, standing, verification, beacon)
        self._pulls = Pulls(fetch_body)
        self._judging: dict[bytes, trio.Lock] = {}
        self._counts = Counts()
        # One entry per kind of body: (opened, announced body or None, ms) -> result.
        self._handlers: dict[type[Any], Callable[[Opened, Any, int], Awaitable[Judged]]] = {
            Share: self._take_share,
            Announce: self._take_announced,
            Proof: self._take_proof,
        }

    # The validator's part

    def screen(self, data: bytes) -> Opened | Reason:
        """Open a message's bytes, which takes about a millisecond. Returns the reason, counted, if
        they do not open."""
        try:
            return open_message(data, self._swarm)
        except ProtocolError as error:
            self._counts.screen_out(error.reason)
            return error.reason

    def hears(self, opened: Opened) -> bool:
        """Charge a message to its signer. Returns whether the signer is listened to and within its
        budget.

        Unheard messages must not be forwarded either, so that a flood ends at the first honest
        node.
        """
        return self.affords(opened.envelope, opened.size)

    def affords(self, envelope: Envelope, size: int) -> bool:
        """Charge an envelope and `size` bytes to its signer. Returns whether it is heard."""
        now_ms = self._context.now_ms()
        charged = self._budgets.charge(envelope, size)
        if charged.flood:
            self.standing.flooded(envelope.key, now_ms)
        good = self.standing.good(envelope.key, now_ms)
        if not (good and charged.within):
            self._counts.screen_out(Reason.QUOTA if good else Reason.STANDING)
        return good and charged.within

    def overflowed(self, messages: int) -> None:
        """Count messages dropped because too many waited to be judged."""
        for _ in range(messages):
            self._counts.screen_out(Reason.QUEUE_FULL)

    # The gate

    async def admit(self, opened: Opened, forwarder: str) -> Admitted:
        """Judge one message from `forwarder` (peer id), and keep the good groups."""
        self._counts.messages += 1
        now_ms, envelope = self._context.now_ms(), opened.envelope
        try:
            raw_body = None
            # Nobody trains on stale groups, so their body is not pulled.
            if isinstance(opened.body, Announce) and not self._shares.stale(epoch_of(self._manifest, envelope.time_ms), now_ms):
                raw_body = await self._pulled(envelope, opened.body, forwarder, now_ms)
            async with self._alone(envelope.key):
                return await self._judge(opened, raw_body, now_ms)
        except TurnedAway as refused:
            evidence = None if refused.reason in CIRCUMSTANCES else opened.data
            return await self._refuse(now_ms, [Refusal(envelope.key, refused.reason, envelope.id, evidence=evidence)])

    async def unread(self, data: bytes, reason: Reason) -> Admitted:
        """Refuse bytes that do not open, for this reason.

        An envelope whose body alone is unreadable is kept in its signer's log.
        """
        self._counts.messages += 1
        now_ms = self._context.now_ms()
        try:
            envelope = open_envelope(data, self._swarm)
            async with self._alone(envelope.key):
                await self._check_envelope(envelope, now_ms)
                await self._keep_apart(envelope, StoredEnvelope(*_row(envelope, now_ms, data)))
        except ProtocolError:
            pass
        except TurnedAway as refused:
            return await self._refuse(now_ms, [Refusal(envelope.key, refused.reason, envelope.id)])
        # Blame nobody: the signer may be newer, or not have signed this; the forwarder be honest.
        return await self._refuse(now_ms, [Refusal(b"", reason, evidence=data)])

    @asynccontextmanager
    async def _alone(self, signer: bytes) -> AsyncIterator[None]:
        """Hold a signer's turn, so that its messages are judged one by one in their order."""
        lock = self._judging.setdefault(signer, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._judging.pop(signer, None)

    async def _judge(self, opened: Opened, raw_body: bytes | None, now_ms: int) -> Admitted:
        envelope, body = opened.envelope, opened.body
        # Checked again after a pull, during which another message may have told on the signer.
        await self._check_envelope(envelope, now_ms)
        body_hash = body.body_hash if isinstance(body, Announce) and raw_body else None
        entry = StoredEnvelope(*_row(envelope, now_ms, opened.data), body_hash, raw_body)
        try:
            groups, refusals = await self._handlers[type(body)](opened, raw_body, now_ms)
        except TurnedAway:
            # Refused or not, it is an entry of its signer's log, and the next one names it.
            await self._keep_apart(envelope, entry)
            raise
        established = self.standing.established_signers(now_ms)
        await self._pool.run(lambda store: _keep(store, entry, groups, established))
        self._counts.groups += len(groups)
        await self._refuse(now_ms, refusals)
        return Admitted(tuple(groups), tuple(refusals))

    # One handler per kind of body

    async def _take_share(self, opened: Opened, raw_body: None, now_ms: int) -> Judged:
        assert isinstance(opened.body, Share)  # noqa: S101 - by the table
        return await self._judge_share(opened.envelope, opened.body, now_ms)

    async def _take_announced(self, opened: Opened, raw_body: bytes | None, now_ms: int) -> Judged:
        if raw_body is None:
            raise TurnedAway(Reason.STALE)
        share = checked(lambda: unpack_share(raw_body))
        return await self._judge_share(opened.envelope, share, now_ms)

    async def _take_proof(self, opened: Opened, raw_body: None, now_ms: int) -> Judged:
        assert isinstance(opened.body, Proof)  # noqa: S101 - by the table
        self._shares.pass_over(opened.envelope)
        await self._convict(opened.body, now_ms, opened.envelope.id)
        return [], []

    async def _judge_share(self, envelope: Envelope, share: Share, now_ms: int) -> Judged:
        self._shares.check(envelope, share, now_ms)
        self._counts.received += len(share.groups)
        return await self._shares.judge(envelope, share, now_ms)

    async def _convict(self, proof: Proof, now_ms: int, carrier: bytes) -> None:
        """Keep a proof of equivocation; refuse its signer from now on."""
        cheat = checked(lambda: check_proof(proof, self._swarm))
        await self._pool.run(lambda store: proof_table.keep(store, cheat, proof, now_ms, carrier))
        self.standing.convict([cheat])

    # Shared by the handlers

    async def _check_envelope(self, envelope: Envelope, now_ms: int) -> None:
        if envelope.key == self._context.key:
            raise TurnedAway(Reason.OWN_KEY)
        if not self.standing.good(envelope.key, now_ms):
            raise TurnedAway(Reason.STANDING)
        placed = await self._pool.run(lambda store: log_table.place(store, envelope))
        if placed.rival is not None:
            await self._convict(prove(envelope, open_envelope(placed.rival, self._swarm)), now_ms, proof_table.NOT_CARRIED)
        if placed.reason is not None:
            raise TurnedAway(placed.reason)
        if envelope.time_ms > now_ms + CLOCK_SKEW_MS:
            raise TurnedAway(Reason.FUTURE)

    async def _pulled(self, envelope: Envelope, announce: Announce, forwarder: str, now_ms: int) -> bytes:
        await self._check_envelope(envelope, now_ms)
        pulled = await self._pulls.pull(announce, forwarder, envelope.key)
        if isinstance(pulled, Reason):
            raise TurnedAway(pulled)
        return pulled

    async def _keep_apart(self, envelope: Envelope, entry: StoredEnvelope) -> None:
        self._shares.pass_over(envelope)
        established = self.standing.established_signers(self._context.now_ms())
        await self._pool.run(lambda store: store.add_envelope(entry, established=established))

    async def _refuse(self, now_ms: int, refusals: list[Refusal]) -> Admitted:
        for refusal in refusals:
            self._counts.refused[refusal.reason] += 1
            self.standing.refused(refusal.signer, refusal.reason, now_ms)
        if refusals:
            await self._pool.run(lambda store: store.add_refusals(now_ms, refusals))
        return Admitted((), tuple(refusals))

    def statistics(self) -> AdmissionStatistics:
        """Return the counts since the node started."""
        return self._counts.statistics()


def _row(envelope: Envelope, now_ms: int, data: bytes) -> tuple[bytes, bytes, int, int, bytes]:
    return envelope.id, envelope.key, envelope.sequence, now_ms, data


def _keep(store: Store, entry: StoredEnvelope, groups: list[ScoredGroup], established: Collection[bytes]) -> None:
    store.add_envelope(entry, established=established)
    store.add_groups(groups, own=False, established=established)
