"""What is let into the pool: nothing from the network is believed.

The checks run from the cheapest to the dearest, and the first that fails names the refusal:

    screen   bytes      size, MessagePack, signature, schema                     (also GossipSub's validator)
    envelope history    own key, standing, duplicate, equivocation, chain, time
    share    range      epoch, index range and continuity
    group    rules      proposer, environment and version, parameters, group size, rendering, lengths
    verify   work       rebuild the task from its recipe, score every answer in a worker; the claimed rewards must be ours

Standing comes before the work rather than after it, so that a signer who is not listened to costs no verification. A
group is refused alone; its envelope's other groups are judged on their own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import trio

from protocols.envelope import Envelope, open_envelope
from protocols.manifest import Manifest, epoch_of
from protocols.messages import Announce, Body, Kind, Proof, RolloutGroup, Share, check_share, unpack_body
from protocols.proof import check_proof, prove
from protocols.reasons import ProtocolError, Reason
from swarm.clock import Clock
from swarm.config.schema import DefencesSection, PoolSection
from swarm.pool.admission.budgets import Budgets
from swarm.pool.admission.checks import forbidden
from swarm.pool.admission.pulls import FetchBody, Pulls
from swarm.pool.admission.ranges import Ranges
from swarm.pool.admission.verification import Rescore, Verification
from swarm.pool.pool import Pool
from swarm.pool.shelf import Shelf
from swarm.pool.standing.standing import Standing
from swarm.pool.store import logs, proofs
from swarm.pool.store.store import Store, StoredEnvelope, StoredRefusal
from swarm.records import ScoredGroup

# Clocks of home machines differ; this much is forgiven.
CLOCK_SKEW_MS = 60_000
# Shares of the previous epoch still travel when a new one begins.
PAST_EPOCHS = 1
# What the validator has decoded and admission will ask for soon.
_SCREENED_KEPT, _SCREENED_BYTES = 1024, 16 * 2**20
# Refusals that the message itself says nothing about: it is held already, or would have been let in at another moment.
_CIRCUMSTANCES = frozenset(
    {
        Reason.BEACON,
        Reason.DUPLICATE,
        Reason.STANDING,
        Reason.QUOTA,
        Reason.QUEUE_FULL,
        Reason.BODY_UNAVAILABLE,
        Reason.BODY_MISMATCH,
    }
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Refusal:
    """One message that was not let in, or its group of the task `item`; `evidence` is the message where that proves something."""

    signer: bytes
    reason: Reason
    envelope: bytes = b""
    item: int | None = None
    evidence: bytes | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came of one message: the groups let in and the refusals."""

    groups: tuple[ScoredGroup, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """Since the node started: messages, groups that arrived in them, groups let in, refusals by reason.

    `screened` are those refusals that the validator gave; they are counted here only, all others in the store as well.
    """

    messages: int
    received: int
    groups: int
    refused: dict[str, int]
    screened: dict[str, int]


class _Refused(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Admission:
    """The gate between the network and the pool: of each signer one message at a time, of several signers at once.

    `workers` groups are verified at once.
    """

    def __init__(
        self,
        manifest: Manifest,
        own_key: bytes,
        pool: Pool,
        rescore: Rescore,
        fetch_body: FetchBody,
        beacon: Callable[[int], bytes | None],
        clock: Clock,
        *,
        defences: DefencesSection | None = None,
        bounds: PoolSection | None = None,
        workers: int = 1,
    ) -> None:
        defences = defences or DefencesSection()
        self._manifest = manifest
        self._own_key = own_key
        self._pool = pool
        self._beacon = beacon
        self._clock = clock
        self.standing = Standing(defences.newcomer_share)
        self._budgets = Budgets(bounds or PoolSection())
        self._verification = Verification(rescore, self._budgets.verification, clock, workers, verify=defences.verify)
        self._screened: Shelf[bytes, tuple[Envelope, Body]] = Shelf(_SCREENED_KEPT, _SCREENED_BYTES, self.established)
        self._ranges = Ranges()
        self._pulls = Pulls(fetch_body)
        self._judging: dict[bytes, trio.Lock] = {}
        self._messages = 0
        self._received = 0
        self._groups = 0
        self._refused: Counter[str] = Counter()
        self._screened_out: Counter[str] = Counter()

    def screen(self, data: bytes) -> Reason | None:
        """The first floor of checks on bare bytes, about a millisecond; None when they pass, else the counted reason."""
        try:
            self._open(data)
        except ProtocolError as error:
            self._screen_out(error.reason)
            return error.reason
        return None

    def _open(self, data: bytes) -> tuple[Envelope, Body]:
        key = hashlib.sha256(data).digest()
        known = self._screened.get(key)
        if known is None:
            envelope = open_envelope(data, self._manifest.id)
            known = envelope, unpack_body(envelope.kind, envelope.body)
            # The validator has just seen what admission will ask for; decoding it twice would double the cost.
            self._screened.put(envelope.key, key, known, len(data))
        return known

    async def admit(self, data: bytes, forwarder: str) -> Admitted:
        """Judge one message from `forwarder` (peer id) and keep what is good."""
        self._messages += 1
        now_ms = self._clock.now_ms()
        try:
            envelope, body = self._open(data)
        except ProtocolError as error:
            return await self._unread(data, error.reason, now_ms)
        try:
            raw_body = None
            # Nobody trains on what is too old, so its body is left where it is.
            if isinstance(body, Announce) and not self._stale(epoch_of(self._manifest, envelope.time_ms), now_ms):
                raw_body = await self._pulled(envelope, body, forwarder, now_ms)
            async with self._alone(envelope.key):
                return await self._judge(envelope, body, raw_body, data, now_ms)
        except _Refused as refused:
            evidence = None if refused.reason in _CIRCUMSTANCES else data
            return await self._refuse(now_ms, [Refusal(envelope.key, refused.reason, envelope.id, evidence=evidence)])

    def hears(self, data: bytes) -> bool:
        """Whether the signer of these bytes, which were screened, is listened to and within its budget of messages and bytes.

        What is not heard is not to be forwarded either, so that a flood ends at the first honest node.
        """
        envelope, body = self._open(data)
        return self.affords(envelope, len(data) + (body.body_bytes if isinstance(body, Announce) else 0))

    def affords(self, envelope: Envelope, size: int) -> bool:
        """Charge an opened envelope, of which `size` bytes are to be taken, to its signer; whether it is heard."""
        now_ms = self._clock.now_ms()
        charged = self._budgets.charge(envelope, size, now_ms)
        if charged.flood:
            self.standing.flooded(envelope.key, now_ms)
        good = self.standing.good(envelope.key, now_ms)
        if not (good and charged.within):
            self._screen_out(Reason.QUOTA if good else Reason.STANDING)
        return good and charged.within

    def overflowed(self, messages: int) -> None:
        """Count messages that were dropped because too many waited to be judged."""
        for _ in range(messages):
            self._screen_out(Reason.QUEUE_FULL)

    def _screen_out(self, reason: Reason) -> None:
        self._refused[reason] += 1
        self._screened_out[reason] += 1

    def established(self, signer: bytes) -> bool:
        """Whether this node knows the signer well."""
        return self.standing.established(signer, self._clock.now_ms())

    def signer(self, data: bytes) -> bytes:
        """Who signed these bytes, which were screened."""
        return self._open(data)[0].key

    @asynccontextmanager
    async def _alone(self, signer: bytes) -> AsyncIterator[None]:
        """Of one signer, what came first is judged first."""
        lock = self._judging.setdefault(signer, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._judging.pop(signer, None)

    def body(self, data: bytes) -> Body:
        """What is in these bytes, which were screened."""
        return self._open(data)[1]

    async def _unread(self, data: bytes, reason: Reason, now_ms: int) -> Admitted:
        """Bytes that do not open, or an envelope whose body this version cannot read, which still belongs to its signer's log."""
        try:
            envelope = open_envelope(data, self._manifest.id)
            async with self._alone(envelope.key):
                await self._check_envelope(envelope, now_ms)
                await self._keep_apart(envelope, StoredEnvelope(*_row(envelope, now_ms, data)))
        except ProtocolError:
            pass
        except _Refused as refused:
            return await self._refuse(now_ms, [Refusal(envelope.key, refused.reason, envelope.id)])
        # There is nobody to blame: the signer may be newer, or not have signed this, and the forwarder be honest.
        return await self._refuse(now_ms, [Refusal(b"", reason, evidence=data)])

    async def _judge(self, envelope: Envelope, body: Body, raw_body: bytes | None, data: bytes, now_ms: int) -> Admitted:
        # A pull takes time in which another message may have told more of the signer: asked again, or for the first time.
        await self._check_envelope(envelope, now_ms)
        entry = StoredEnvelope(
            *_row(envelope, now_ms, data), body.body_hash if isinstance(body, Announce) and raw_body else None, raw_body
        )
        groups: list[ScoredGroup] = []
        refusals: list[Refusal] = []
        try:
            if isinstance(body, Proof):
                self._ranges.pass_over(envelope.key, envelope.sequence)
                await self._convict(body, now_ms, envelope.id)
            else:
                groups, refusals = await self._judge_share(envelope, self._share(envelope, body, raw_body, now_ms), now_ms)
        except _Refused:
            # Whatever it is worth, it is one entry of its signer's log, and the next one names it.
            await self._keep_apart(envelope, entry)
            raise
        old = self.standing.old(now_ms)
        await self._pool.run(lambda store: _keep(store, entry, groups, old))
        self._groups += len(groups)
        await self._refuse(now_ms, refusals)
        return Admitted(tuple(groups), tuple(refusals))

    def _share(self, envelope: Envelope, body: Share | Announce, raw_body: bytes | None, now_ms: int) -> Share:
        if isinstance(body, Announce):
            if raw_body is None:
                raise _Refused(Reason.STALE)
            pulled = _checked(lambda: unpack_body(Kind.SHARE, raw_body))
            assert isinstance(pulled, Share)  # noqa: S101 - that is what this kind unpacks to
            body = pulled
        share = body
        _checked(lambda: check_share(share, envelope.key))
        self._check_range(envelope, share, now_ms)
        return share

    async def _judge_share(self, envelope: Envelope, share: Share, now_ms: int) -> tuple[list[ScoredGroup], list[Refusal]]:
        self._received += len(share.groups)
        self.standing.proposed(envelope.key, share.count, len(share.groups), now_ms)
        groups, refusals = [], []
        held = await self._pool.run(lambda store: store.held_items(envelope.key, share.epoch)) if share.groups else frozenset()
        for group in share.groups:
            try:
                self._check_group(group, held)
                groups.append(await self._verify(group, envelope, now_ms))
            except _Refused as refused:
                refusals.append(Refusal(envelope.key, refused.reason, envelope.id, group.recipe.index))
        return groups, refusals

    async def _keep_apart(self, envelope: Envelope, entry: StoredEnvelope) -> None:
        self._ranges.pass_over(envelope.key, envelope.sequence)
        old = self.standing.old(self._clock.now_ms())
        await self._pool.run(lambda store: store.add_envelope(entry, old=old))

    async def _convict(self, proof: Proof, now_ms: int, carrier: bytes) -> None:
        """Keep a proof of equivocation; its signer is refused from now on."""
        cheat = _checked(lambda: check_proof(proof, self._manifest.id))
        await self._pool.run(lambda store: proofs.keep(store, cheat, proof, now_ms, carrier))
        self.standing.convict([cheat])

    async def _refuse(self, now_ms: int, refusals: list[Refusal]) -> Admitted:
        for refusal in refusals:
            self._refused[refusal.reason] += 1
            self.standing.refused(refusal.signer, refusal.reason, now_ms)
        if refusals:
            named = [StoredRefusal(each.signer, each.reason, each.envelope, each.item, each.evidence) for each in refusals]
            await self._pool.run(lambda store: store.add_refusals(now_ms, named))
        return Admitted((), tuple(refusals))

    async def _check_envelope(self, envelope: Envelope, now_ms: int) -> None:
        if envelope.key == self._own_key:
            raise _Refused(Reason.OWN_KEY)
        if not self.standing.good(envelope.key, now_ms):
            raise _Refused(Reason.STANDING)
        placed = await self._pool.run(lambda store: logs.place(store, envelope))
        if placed.rival is not None:
            await self._convict(prove(envelope, open_envelope(placed.rival, self._manifest.id)), now_ms, proofs.NOT_CARRIED)
        if placed.reason is not None:
            raise _Refused(placed.reason)
        if envelope.time_ms > now_ms + CLOCK_SKEW_MS:
            raise _Refused(Reason.FUTURE)

    async def _pulled(self, envelope: Envelope, announce: Announce, forwarder: str, now_ms: int) -> bytes:
        await self._check_envelope(envelope, now_ms)
        pulled = await self._pulls.pull(announce, forwarder, envelope.key)
        if isinstance(pulled, Reason):
            raise _Refused(pulled)
        return pulled

    def _check_range(self, envelope: Envelope, share: Share, now_ms: int) -> None:
        if share.epoch > epoch_of(self._manifest, now_ms + CLOCK_SKEW_MS):
            raise _Refused(Reason.EPOCH)
        if self._stale(share.epoch, now_ms):
            raise _Refused(Reason.STALE)
        if share.first_index + share.count > self._manifest.tasks_per_epoch:
            raise _Refused(Reason.INDEX)
        if len(share.groups) > self._manifest.max_groups_per_share:
            raise _Refused(Reason.GROUP_COUNT)
        wrong = self._ranges.take(envelope.key, envelope.sequence, share)
        if wrong is not None:
            raise _Refused(wrong)

    def _stale(self, epoch: int, now_ms: int) -> bool:
        return epoch < epoch_of(self._manifest, now_ms) - PAST_EPOCHS

    def _check_group(self, group: RolloutGroup, held: Collection[int]) -> None:
        reason = forbidden(self._manifest, group)
        if reason is not None:
            raise _Refused(reason)
        if group.recipe.index in held:
            raise _Refused(Reason.DUPLICATE)

    async def _verify(self, group: RolloutGroup, envelope: Envelope, now_ms: int) -> ScoredGroup:
        value = self._beacon(group.recipe.epoch)
        if value is None:
            raise _Refused(Reason.BEACON)
        # While nobody is established, there is nobody to leave a worker to.
        known = not self.standing.old(now_ms) or self.established(envelope.key)
        judged = await self._verification.judge(group, value, envelope.key, established=known)
        if isinstance(judged, Reason):
            raise _Refused(judged)
        task, rewards = judged
        return ScoredGroup(
            task=task,
            rendering=group.rendering,
            policy=group.policy,
            completions=group.completions,
            rewards=rewards,
            signer=envelope.key,
            envelope=envelope.id,
            received_ms=now_ms,
        )

    def statistics(self) -> AdmissionStatistics:
        """Counts since the node started."""
        refused, screened = (dict(sorted(counts.items())) for counts in (self._refused, self._screened_out))
        return AdmissionStatistics(self._messages, self._received, self._groups, refused, screened)


def _row(envelope: Envelope, now_ms: int, data: bytes) -> tuple[bytes, bytes, int, int, bytes]:
    return envelope.id, envelope.key, envelope.sequence, now_ms, data


def _keep(store: Store, entry: StoredEnvelope, groups: list[ScoredGroup], old: Collection[bytes]) -> None:
    store.add_envelope(entry, old=old)
    store.add_groups(groups, own=False, old=old)


def _checked(check: Callable[[], T]) -> T:
    try:
        return check()
    except ProtocolError as error:
        raise _Refused(error.reason) from None
