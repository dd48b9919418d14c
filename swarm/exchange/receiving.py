"""The node's side of the network: what it lets through, what it takes in, and what it answers."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from protocols.envelope import Envelope, open_envelope
from protocols.limits import HASH_BYTES, MAX_SYNC_REQUEST_BYTES
from protocols.messages import Announce, Share
from protocols.peer_id import peer_id
from protocols.reasons import ProtocolError, Reason
from protocols.sync import HEADS_PROTOCOL, LOG_PROTOCOL, HeadsRequest, LogRequest, pack_heads, pack_log
from swarm.errors import NetworkError
from swarm.events import Refused
from swarm.exchange.waiting import Waiting
from swarm.net.network import Message, Network, Verdict
from swarm.pool.admission.admission import Admission, Admitted
from swarm.pool.store import logs

if TYPE_CHECKING:
    from swarm.node.node import Node

MANIFEST_PROTOCOL = "/swarmd/1/manifest"
BODY_PROTOCOL = "/swarmd/1/body"

ELSEWHERE = (
    "nothing is shared: this identity has signed an envelope that is not here; it runs twice, or an old backup was restored"
)

# Messages of different signers; their groups share the scoring workers.
JUDGED_AT_ONCE = 8
# Messages beside the queue, which wait for a peer: more than admission lets wait, so that one in the queue never does.
WAITING_AT_ONCE = 64

# What an honest peer of another version sends; dropping it must not cost the forwarder its standing in the mesh.
_NEWER = frozenset({Reason.VERSION, Reason.KIND})


def verdict(admission: Admission, data: bytes) -> Verdict:
    """GossipSub's validator: bytes that do not open, or whose signer is silenced, are neither delivered nor forwarded."""
    reason = admission.screen(data)
    if reason is None:
        return Verdict.ACCEPT if admission.hears(data) else Verdict.IGNORE
    return Verdict.IGNORE if reason in _NEWER else Verdict.REJECT


async def receive(node: Node, network: Network) -> None:
    """Admit messages until the network closes, each signer's in their order; only what waits for a peer is waited for aside."""
    settings, admission = node.config.network, node.admission
    waiting = Waiting(settings.max_inbound_queue, settings.max_inbound_bytes, admission.established)
    judges = beside = 0

    async def judge() -> None:
        nonlocal judges
        while (taken := waiting.take()) is not None:
            signer, message = taken
            await admit(node, message.data, message.peer)
            waiting.done(signer)
        judges -= 1

    async def wait(message: Message) -> None:
        nonlocal beside
        await admit(node, message.data, message.peer)
        beside -= 1

    async with trio.open_nursery() as aside:
        async for message in network.messages:
            if beside < WAITING_AT_ONCE and _waits(node, message.data):
                beside += 1
                aside.start_soon(wait, message)
                continue
            admission.overflowed(waiting.put(admission.signer(message.data), message))
            if judges < JUDGED_AT_ONCE:
                judges += 1
                aside.start_soon(judge)


def _waits(node: Node, data: bytes) -> bool:
    """Whether admitting these bytes, which were screened, waits for a peer: for an announced body, or the value of an epoch."""
    body = node.admission.body(data)
    return isinstance(body, Announce) or (isinstance(body, Share) and node.beacon.lacks(body.epoch))


async def admit(node: Node, data: bytes, peer: str) -> Admitted:
    """Hand an envelope from `peer` to admission, tell of refusals, and notice an own one that is not held here."""
    await _seek_beacon(node, data, peer)
    admitted = await node.admission.admit(data, peer)
    old = node.admission.standing.old(node.clock.now_ms())
    # What newcomers can do says nothing beside those who are known.
    node.proposer.curriculum.hear(group for group in admitted.groups if not old or group.signer in old)
    node.freshness.arrived(len(admitted.groups))
    for refusal in admitted.refusals:
        signer = peer_id(refusal.signer) if refusal.signer else ""
        node.emit(Refused(node.identity.peer_id, signer, refusal.reason))
        if refusal.reason is Reason.OWN_KEY:
            await _look_at_own(node, open_envelope(data, node.manifest.id), peer)
    return admitted


async def _seek_beacon(node: Node, data: bytes, peer: str) -> None:
    """What was not screened before, bytes out of a log, may be anything; admission will say so."""
    with suppress(ProtocolError):
        body = node.admission.body(data)
        if isinstance(body, Share):
            await node.beacon.seek(body.epoch, peer, node.admission.signer(data))


async def _look_at_own(node: Node, envelope: Envelope, peer: str) -> None:
    if await node.pool.run(lambda store: store.envelope_at(envelope.key, envelope.sequence)) != envelope.id:
        node.log.doubt(ELSEWHERE, (peer, envelope))


def serve(node: Node, network: Network) -> None:
    """Answer what peers ask: the swarm's manifest by its id, announced bodies by their hash, heads and stretches of logs."""

    async def manifest(peer: str, request: bytes) -> bytes:
        if request != node.manifest.id:
            raise NetworkError("another swarm's manifest was asked for")
        return node.manifest.to_toml().encode()

    async def body(peer: str, request: bytes) -> bytes:
        held = await node.pool.run(lambda store: store.body(request))
        if held is None:
            raise NetworkError("that body is not held here")
        return held

    async def heads(peer: str, request: bytes) -> bytes:
        asked = HeadsRequest.from_bytes(request)
        _check_swarm(node, asked.swarm)
        return pack_heads(await node.pool.run(lambda store: logs.heads(store, asked.start, asked.count)))

    async def log(peer: str, request: bytes) -> bytes:
        asked = LogRequest.from_bytes(request)
        _check_swarm(node, asked.swarm)
        return pack_log(await node.pool.run(lambda store: logs.stretch(store, asked.key, asked.first, asked.count)))

    network.serve(MANIFEST_PROTOCOL, manifest, max_request_bytes=HASH_BYTES)
    network.serve(BODY_PROTOCOL, body, max_request_bytes=HASH_BYTES)
    network.serve(HEADS_PROTOCOL, heads, max_request_bytes=MAX_SYNC_REQUEST_BYTES)
    network.serve(LOG_PROTOCOL, log, max_request_bytes=MAX_SYNC_REQUEST_BYTES)


def _check_swarm(node: Node, swarm: bytes) -> None:
    if swarm != node.manifest.id:
        raise NetworkError("another swarm's logs were asked for")


class Bodies:
    """Pulls announced bodies from their signer, then from whoever forwarded the announcement."""

    def __init__(self) -> None:
        self.network: Network | None = None

    async def fetch(self, body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
        """The body, or something else that the signer gave for it. Raises `NetworkError` when neither has it."""
        if self.network is None:
            raise NetworkError("the node is not on the network")
        refused: bytes | None = None
        for holder in dict.fromkeys((peer_id(signer), forwarder)):
            try:
                body = await self.network.request(holder, BODY_PROTOCOL, body_hash, size)
            except NetworkError:
                continue
            if hashlib.sha256(body).digest() == body_hash:
                return body
            # Only what the signer itself gives can be held against it.
            refused = body if holder == peer_id(signer) else refused
        if refused is None:
            raise NetworkError("nobody who was asked has the body")
        return refused
