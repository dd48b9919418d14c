"""Fetches envelopes that gossip did not bring: after an absence, a partition or lost messages.

When a peer connects, and every so often, one peer is asked for its heads: the envelopes that it
holds of each signer. Missing ones are looked for again after a moment, since most are just on their
way. Then they are fetched and admitted like anything else from the network.

A peer is not believed: it has one turn, bounded in time, envelopes and bytes. Promising much
without giving it, or giving something else, ends the turn. So a liar costs its turn, and an honest
peer has the next one.

A head with another id under a number that is held, or an envelope that does not fit the chain,
means that its signer showed two histories. Then the envelope under the number of a held one is
fetched: the proof.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from random import Random

import trio

from protocols.limits import KEY_BYTES, MAX_HEADS, MAX_LOG_ENVELOPES
from protocols.reasons import ProtocolError, Reason
from protocols.sync import Head, HeadsRequest, LogRequest
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.exchange.asking import ask_heads, ask_log
from swarm.exchange.receiving import Receiver
from swarm.net.network import Network
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.store import log_table
from swarm.pool.store.log_table import Stretch
from swarm.pool.store.store import Store

logger = logging.getLogger(__name__)

# Seconds between looks for new peers, between turns, and between turns while more is left.
LOOK_S = 4.0
EVERY_S = 30.0
AGAIN_S = 5.0
# Missing envelopes may be under way.
SETTLE_S = 5.0
# One peer's turn. An answer of heads names up to 1024 signers.
TURN_S = 60.0
MAX_PAGES = 4
MAX_ENVELOPES = 512
MAX_ENVELOPES_PER_SIGNER = 256
MAX_BYTES = 16 * 2**20
MAX_UNSERVED = 8

# After these refusals the rest of a signer's log waits for another time.
_NOT_NOW = frozenset(
    {
        Reason.CHAIN, Reason.EQUIVOCATION, Reason.STANDING, Reason.QUOTA, Reason.QUEUE_FULL, Reason.FUTURE,
        Reason.BODY_UNAVAILABLE, Reason.BODY_MISMATCH,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SyncStatistics:
    """Counts since the start: turns given to peers, turns ended by a peer's fault, envelopes
    fetched."""

    turns: int
    faults: int
    fetched: int


class LogSync:
    """One node's requests for logs, for its whole life, on one network after the other."""

    def __init__(self, context: Context, pool: Pool, admission: Admission) -> None:
        self._context = context
        self._pool = pool
        self._admission = admission
        self._random = Random(f"log sync/{context.seed}")
        self._counts: Counter[str] = Counter()

    async def run(self, network: Network, receiver: Receiver) -> None:
        """Give turns to random peers, new ones soon, all now and then; `receiver` admits the
        envelopes."""
        met: set[str] = set()
        due = trio.current_time() + EVERY_S * self._random.uniform(0.5, 1.5)
        while True:
            await trio.sleep(LOOK_S * self._random.uniform(0.5, 1.5))
            connected = sorted(peer.peer_id for peer in network.peers() if peer.connected)
            new = [peer for peer in connected if peer not in met]
            met = set(connected)
            if not connected or not (new or trio.current_time() >= due):
                continue
            more = await self._turn(network, receiver, self._random.choice(new or connected))
            due = trio.current_time() + (AGAIN_S if more else EVERY_S) * self._random.uniform(0.5, 1.5)

    async def _turn(self, network: Network, receiver: Receiver, peer: str) -> bool:
        """Ask one peer. Returns whether it gave something, so that there may be more."""
        self._counts["turns"] += 1
        before = self._counts["fetched"]
        with trio.move_on_after(TURN_S):
            try:
                heads = await self._heads(network, peer)
                if await self._wanted(heads):
                    await trio.sleep(SETTLE_S)
                    await self._fetch(network, receiver, peer, await self._wanted(heads))
            except (NetworkError, ProtocolError) as error:
                self._counts["faults"] += 1
                logger.debug("log sync with %s ended: %s", peer, error)
        return self._counts["fetched"] > before

    async def _heads(self, network: Network, peer: str) -> list[Head]:
        """Return the peer's heads; of more than `MAX_PAGES` pages, windows from random keys on."""
        heads: dict[bytes, Head] = {}
        start = bytes(KEY_BYTES)
        for _ in range(MAX_PAGES):
            asked = HeadsRequest(self._context.manifest.id, start, MAX_HEADS)
            page = await ask_heads(network, peer, asked)
            # By key: pages may overlap, and nothing must be fetched twice.
            heads |= {head.key: head for head in page}
            if len(page) < MAX_HEADS:
                break
            start = self._random.randbytes(KEY_BYTES)
        return list(heads.values())

    async def _wanted(self, heads: list[Head]) -> list[Stretch]:
        """Return the stretches to fetch: contradictions first, then missing ones, shuffled."""
        own, now_ms = self._context.key, self._context.now_ms()
        standing = self._admission.standing

        def look(store: Store) -> tuple[list[Stretch], list[Stretch]]:
            others = [head for head in heads if head.key != own and standing.good(head.key, now_ms)]
            # An unknown own envelope is fetched to see that it is real; recovery.py does the rest.
            strange = [
                Stretch(own, each.last, 1) for each in heads if each.key == own and store.envelope_at(own, each.last) != each.id
            ]
            return strange + log_table.disputed(store, others), log_table.missing(
                store, others, backwards=log_table.has_room(store)
            )

        urgent, missing = await self._pool.run(look)
        self._random.shuffle(missing)
        return urgent + missing

    async def _fetch(self, network: Network, receiver: Receiver, peer: str, wanted: list[Stretch]) -> None:
        envelopes, size, unserved = MAX_ENVELOPES, MAX_BYTES, 0
        for stretch in wanted:
            at, end = stretch.first, stretch.first + min(stretch.count, MAX_ENVELOPES_PER_SIGNER)
            while at < end and envelopes > 0 and size > 0:
                request = LogRequest(self._context.manifest.id, stretch.key, at, min(end - at, envelopes, MAX_LOG_ENVELOPES))
                found = await ask_log(network, peer, request)
                if not found:
                    # A head names the ends of a log; an honest peer has few gaps between them.
                    unserved += at == stretch.first
                    if unserved >= MAX_UNSERVED:
                        raise NetworkError("the peer does not give what its heads promise")
                    break
                envelopes -= len(found)
                at = found[-1].sequence + 1
                for envelope in found:
                    data = envelope.to_bytes()
                    size -= len(data)
                    if not self._admission.affords(envelope, len(data)):
                        at = end
                        break
                    reasons = await receiver.admit_entry(envelope, data, peer)
                    self._counts["fetched"] += 1
                    if Reason.CHAIN in reasons and envelope.sequence:
                        await self._fetch_rival(network, receiver, peer, stretch.key, envelope.sequence)
                    if reasons & _NOT_NOW:
                        at = end
                        break

    async def _fetch_rival(self, network: Network, receiver: Receiver, peer: str, key: bytes, sequence: int) -> None:
        """Fetch the peer's envelopes on both sides of one that does not fit the chain held here."""
        for at in (sequence - 1, sequence + 1):
            request = LogRequest(self._context.manifest.id, key, at, 1)
            for rival in await ask_log(network, peer, request):
                await receiver.admit_entry(rival, rival.to_bytes(), peer)

    def statistics(self) -> SyncStatistics:
        """Return the counts since the start."""
        return SyncStatistics(self._counts["turns"], self._counts["faults"], self._counts["fetched"])
