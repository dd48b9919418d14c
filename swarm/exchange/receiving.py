"""From gossip to admission: drops hopeless messages, judges the others in turn, reports the
outcome."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from protocols.envelope import Envelope
from protocols.manifest import topic
from protocols.messages import Announce, Body, Share, unpack_body
from protocols.peer_id import peer_id
from protocols.reasons import ProtocolError, Reason
from swarm.beacon.beacon import Beacon
from swarm.context import Context
from swarm.events import Refused
from swarm.exchange.own_log import ELSEWHERE, OwnLog
from swarm.exchange.waiting import Waiting
from swarm.net.network import Message, Subscription, Verdict
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.opened import Opened
from swarm.pool.admission.refusal import Admitted
from swarm.pool.pool import Pool
from swarm.records import Refusal, ScoredGroup

# Messages, of different signers, judged at once; their groups share the scoring workers.
JUDGED_AT_ONCE = 8
# Room for messages that wait: what all peers may bring at once, within what memory allows.
WAITING_PER_CONNECTION = 16
LEAST_WAITING = 1024
MAX_WAITING_BYTES = 64 * 2**20
# Messages that wait for a peer, beside the queue. Above admission's own limit, so that one in the
# queue never waits.
WAITING_AT_ONCE = 64

# Honest peers of another version send these; the forwarder must not lose peer score for them.
_NEWER = frozenset({Reason.VERSION, Reason.KIND})

# Called with the admitted groups of each message.
Heard = Callable[[Sequence[ScoredGroup]], None]


def validate(admission: Admission, data: bytes) -> Opened | Verdict:
    """Open a message for GossipSub. Bytes that do not open, or of a silenced signer, are neither
    delivered nor forwarded."""
    opened = admission.screen(data)
    if isinstance(opened, Reason):
        return Verdict.IGNORE if opened in _NEWER else Verdict.REJECT
    return opened if admission.hears(opened) else Verdict.IGNORE


class Receiver:
    """Admits a network's messages, each signer's in order; those waiting for a peer stand aside."""

    def __init__(self, context: Context, pool: Pool, admission: Admission, beacon: Beacon, log: OwnLog, heard: Heard) -> None:
        settings = context.config.network
        self._context = context
        self._pool = pool
        self._admission = admission
        self._beacon = beacon
        self._log = log
        self._heard = heard
        self._waiting = Waiting(
            max(LEAST_WAITING, WAITING_PER_CONNECTION * settings.max_connections),
            MAX_WAITING_BYTES,
            lambda signer: admission.standing.established(signer, context.now_ms()),
        )
        self._aside: deque[Message[Opened]] = deque()
        self._judges = self._beside = 0
        self._wake = trio.Event()

    @property
    def subscription(self) -> Subscription[Opened]:
        """The subscription by which this node hears its swarm."""
        return Subscription(topic(self._context.manifest), lambda data: validate(self._admission, data), self.take)

    def take(self, message: Message[Opened]) -> int:
        """Have a message judged in its turn. Returns the number of waiting ones dropped for it."""
        dropped = 0
        if self._beside < WAITING_AT_ONCE and self._waits(message.opened.body):
            self._beside += 1
            self._aside.append(message)
        else:
            dropped = self._waiting.put(message)
            self._admission.overflowed(dropped)
        self._wake.set()
        return dropped

    def _waits(self, body: Body) -> bool:
        """Return whether admitting this body waits for a peer: for an announced body or an epoch's
        value."""
        return isinstance(body, Announce) or (isinstance(body, Share) and self._beacon.lacks(body.epoch))

    async def run(self) -> None:
        """Judge messages until cancelled. After a failure the waiting ones are there for the next
        run."""
        self._judges, self._beside = 0, len(self._aside)
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                while self._aside:
                    nursery.start_soon(self._wait, self._aside.popleft())
                while self._judges < JUDGED_AT_ONCE and (message := self._waiting.take()) is not None:
                    self._judges += 1
                    nursery.start_soon(self._judge, message)
                await self._wake.wait()
                # A message taken now would be lost with a task that cannot begin any more.
                await trio.lowlevel.checkpoint_if_cancelled()

    async def _judge(self, message: Message[Opened]) -> None:
        try:
            await self.admit(message.opened, message.peer)
        finally:
            self._waiting.done(message)
            self._judges -= 1
            self._wake.set()

    async def _wait(self, message: Message[Opened]) -> None:
        try:
            await self.admit(message.opened, message.peer)
        finally:
            self._beside -= 1

    async def admit(self, opened: Opened, peer: str) -> Admitted:
        """Hand a message from `peer` to admission, and report the outcome."""
        if isinstance(opened.body, Share):
            await self._beacon.seek(opened.body.epoch, peer, opened.envelope.key)
        admitted = await self._admission.admit(opened, peer)
        self._heard(admitted.groups)
        for refusal in admitted.refusals:
            self._tell(refusal)
            if refusal.reason is Reason.OWN_KEY:
                await self._look_at_own(opened.envelope, peer)
        return admitted

    async def admit_entry(self, envelope: Envelope, data: bytes, peer: str) -> frozenset[Reason]:
        """Hand a log entry from `peer` to admission. Returns the reasons of the refusals."""
        try:
            body = unpack_body(envelope.kind, envelope.body)
        except ProtocolError as error:
            admitted = await self._admission.unread(data, error.reason)
            for refusal in admitted.refusals:
                self._tell(refusal)
        else:
            admitted = await self.admit(Opened(data, envelope, body), peer)
        return frozenset(refusal.reason for refusal in admitted.refusals)

    def _tell(self, refusal: Refusal) -> None:
        signer = peer_id(refusal.signer) if refusal.signer else ""
        self._context.emit(Refused(self._context.identity.peer_id, signer, refusal.reason))

    async def _look_at_own(self, envelope: Envelope, peer: str) -> None:
        """Doubt the end of the own log if this envelope of it is not held here."""
        if await self._pool.run(lambda store: store.envelope_at(envelope.key, envelope.sequence)) != envelope.id:
            self._log.doubt(ELSEWHERE, (peer, envelope))
