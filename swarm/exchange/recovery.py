"""Finds the end of the own log when the pool may not know it.

A node that signs two envelopes with one sequence number has proved itself a cheat, for good. An
honest one does so when its key outlives its pool: the disk was lost, the pool moved away, an old
backup restored, the identity copied to a second machine. So a node asks its peers, who keep its
envelopes, before it signs. The cases:

    brand-new key     `swarm.pool.store.log_table.begin` noted, as the key was made, that its log
                      begins in this pool. There is nothing to wait for. The first peers are asked
                      all the same, since the note may come from an old backup.
    lost pool         The note is lost with the pool. Nothing is signed until a peer has answered,
                      however long that takes.
    normal restart,   Indistinguishable from here: the log in the pool ends somewhere. The first
    old backup        peers are asked before anything is signed, which takes one round trip after
                      the first connection.
    whole swarm       A restarted node that knows of no peer at all signs on: there is nobody to
    offline           contradict. A node that knows peers, all of them away, stays silent. That
                      costs nothing, as nobody listens.
    peers that do     After `PATIENCE_S` of connected peers without an answer a restarted node signs
    not answer        on: they may not speak this protocol. One with a lost pool goes on waiting.
    running twice     An own envelope that is not held here shows up in gossip or in a peer's heads:
                      nothing more is signed until the log was fetched. If it contradicts one that
                      is held, the log is forked and silent for good.

A single peer may have missed envelopes, or lie. So `ENOUGH` peers are asked, or all that are
connected. All their envelopes carry this node's own signature: they can withhold, not invent.
Meanwhile the node learns as always. Its groups stay unpublished, and the next share accounts for
their indices.
"""

from __future__ import annotations

import hashlib
import logging
from random import Random

import trio

from protocols.envelope import Envelope
from protocols.limits import MAX_LOG_ENVELOPES
from protocols.messages import Announce, Kind, unpack_body
from protocols.reasons import ProtocolError, Reason
from protocols.sync import HeadsRequest, LogRequest
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.exchange.asking import ask_heads, ask_log
from swarm.exchange.own_log import ELSEWHERE, FORKED, OwnLog, entry_of
from swarm.exchange.uplink import BODY_PROTOCOL
from swarm.net.network import Network
from swarm.pool.pool import Pool
from swarm.pool.store import log_table, proof_table

logger = logging.getLogger(__name__)

ENOUGH = 3
PATIENCE_S = 60.0
# One peer's turn: a peer that gives the log drop by drop must not keep this node silent.
TURN_S = 60.0
# Seconds between looks for connected peers; they grow while there are none.
LOOK_S, LONGEST_LOOK_S = 0.25, 5.0

WAITING = "nothing is shared until a peer has told where this node's log ends"


async def doubt_at_start(context: Context, pool: Pool, log: OwnLog) -> None:
    """Have peers asked; until they have answered only the log of a new key is open."""
    noted = await pool.run(lambda store: log_table.begins_here(store, context.key))
    log.doubt("" if noted and log.position.sequence == 0 else WAITING)


class Recovery:
    """Finds the end of the own log: at the start, and whenever it is in doubt."""

    def __init__(self, context: Context, pool: Pool, log: OwnLog) -> None:
        self._context = context
        self._pool = pool
        self._log = log
        self._random = Random(f"own log/{context.seed}")

    async def run(self, network: Network) -> None:
        """Wait for doubts and settle them, until the network closes."""
        while True:
            await self._log.doubted.wait()
            self._log.doubted = doubted = trio.Event()
            try:
                await self._find_end(network)
            except BaseException:
                doubted.set()  # this part, or the network, is opened again
                raise

    async def _find_end(self, network: Network) -> None:
        context, log = self._context, self._log
        noted = await self._pool.run(lambda store: log_table.begins_here(store, context.key))
        if await self._pool.run(lambda store: proof_table.against(store, context.key)):
            log.fork()
        strange, log.strange = log.strange, []
        for peer, envelope in strange:
            await self._take_over(network, peer, envelope)
        first = [peer for peer, _ in strange]
        asked: set[str] = set()
        answers, look = 0, LOOK_S
        asked_since: float | None = None
        while log.silent != FORKED:
            known = network.peers()
            connected = sorted(peer.peer_id for peer in known if peer.connected)
            self._hold(noted, alone=not known and not context.config.swarm.bootstrap)
            unasked = [peer for peer in connected if peer not in asked]
            if unasked:
                peer = next((peer for peer in first if peer in unasked), "") or self._random.choice(unasked)
                asked.add(peer)
                asked_since = trio.current_time() if asked_since is None else asked_since
                try:
                    with trio.fail_after(TURN_S):
                        await self._fetch_own(network, peer)
                    answers += 1
                except (NetworkError, ProtocolError, trio.TooSlowError) as error:
                    logger.debug("%s did not give its copy of this node's log: %r", peer, error)
            elif asked_since is not None and trio.current_time() - asked_since > PATIENCE_S:
                if noted and not answers:
                    break
                asked.clear()
                asked_since = None
            if answers >= ENOUGH or (answers and not set(connected) - asked):
                break
            if not unasked:
                await trio.sleep(look * self._random.uniform(0.8, 1.2))
                look = LOOK_S if connected else min(look * 1.5, LONGEST_LOOK_S)
        if log.silent != FORKED and not log.doubted.is_set():
            if not noted:
                await self._pool.run(lambda store: log_table.note_if_whole(store, context.key))
            log.silent = ""

    def _hold(self, noted: bool, *, alone: bool) -> None:
        """Sign nothing meanwhile, unless there is nothing to contradict."""
        if self._log.silent in (ELSEWHERE, FORKED):
            return
        new = self._log.position.sequence == 0
        self._log.silent = "" if noted and (new or alone) else WAITING

    async def _fetch_own(self, network: Network, peer: str) -> None:
        """Take over one peer's envelopes of the own log that are missing here.

        Raises `NetworkError` or `ProtocolError`.
        """
        key, swarm = self._context.key, self._context.manifest.id
        asking = HeadsRequest(swarm, key, 1)
        heads = await ask_heads(network, peer, asking)
        if not heads or heads[0].key != key:
            return
        head = heads[0]
        wanted = await self._pool.run(
            lambda store: log_table.missing(store, [head], backwards=True) + log_table.disputed(store, [head])
        )
        for stretch in wanted:
            first, end = stretch.first, stretch.first + stretch.count
            while first < end and self._log.silent != FORKED:
                request = LogRequest(swarm, key, first, min(end - first, MAX_LOG_ENVELOPES))
                found = await ask_log(network, peer, request)
                if not found:
                    break
                for envelope in found:
                    await self._take_over(network, peer, envelope)
                first = found[-1].sequence + 1
        if self._log.silent != FORKED and await self._pool.run(lambda store: store.envelope_at(key, head.last)) != head.id:
            raise NetworkError("the peer names an envelope of this node's log that it does not give")

    async def _take_over(self, network: Network, peer: str, envelope: Envelope) -> None:
        """Keep a peer's copy of an own envelope, and continue behind it."""
        entry = entry_of(envelope, self._context.now_ms(), await _body(network, peer, envelope))
        if await self._log.take_over(entry, envelope) in (Reason.EQUIVOCATION, Reason.CHAIN):
            self._log.fork()


async def _body(network: Network, peer: str, envelope: Envelope) -> bytes | None:
    """Return the body that an own envelope announces, or None if the peer has not got it."""
    if envelope.kind != Kind.ANNOUNCE:
        return None
    announce = unpack_body(envelope.kind, envelope.body)
    assert isinstance(announce, Announce)  # noqa: S101 - that is what this kind unpacks to
    try:
        body = await network.request(peer, BODY_PROTOCOL, announce.body_hash, announce.body_bytes)
    except NetworkError:
        return None
    return body if hashlib.sha256(body).digest() == announce.body_hash else None
