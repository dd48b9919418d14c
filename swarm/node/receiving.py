"""The node's side of the network: what it lets through, what it takes in, and what it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from protocols.errors import Reason
from protocols.limits import HASH_BYTES
from protocols.peer import peer_id
from swarm.errors import NetworkError
from swarm.events import Refused
from swarm.net.network import Message, Network, Verdict
from swarm.pool.admission import Admission

if TYPE_CHECKING:
    from swarm.node.node import Node

MANIFEST_PROTOCOL = "/swarmd/1/manifest"
BODY_PROTOCOL = "/swarmd/1/body"

# What an honest peer of another version sends; dropping it must not cost the forwarder its standing in the mesh.
_NEWER = frozenset({Reason.VERSION, Reason.KIND})


def verdict(admission: Admission, data: bytes) -> Verdict:
    """GossipSub's validator: bytes that do not open are neither delivered nor forwarded."""
    reason = admission.screen(data)
    if reason is None:
        return Verdict.ACCEPT
    return Verdict.IGNORE if reason in _NEWER else Verdict.REJECT


async def receive(node: Node, network: Network) -> None:
    """Admit messages, in their order, until the network closes; only what waits for a peer's answer is waited for aside."""

    async def admit(message: Message) -> None:
        admitted = await node.admission.admit(message.data, message.peer)
        for refusal in admitted.refusals:
            signer = peer_id(refusal.signer) if refusal.signer else ""
            node.emit(Refused(node.identity.peer_id, signer, refusal.reason))

    async with trio.open_nursery() as aside:
        async for message in network.messages:
            if node.admission.announced(message.data):
                aside.start_soon(admit, message)
            else:
                await admit(message)


def serve(node: Node, network: Network) -> None:
    """Answer what peers ask: the swarm's manifest by its id, and announced bodies by their hash."""

    async def manifest(peer: str, request: bytes) -> bytes:
        if request != node.manifest.id:
            raise NetworkError("another swarm's manifest was asked for")
        return node.manifest.to_toml().encode()

    async def body(peer: str, request: bytes) -> bytes:
        held = await node.pool.run(lambda store: store.body(request))
        if held is None:
            raise NetworkError("that body is not held here")
        return held

    network.serve(MANIFEST_PROTOCOL, manifest, max_request_bytes=HASH_BYTES)
    network.serve(BODY_PROTOCOL, body, max_request_bytes=HASH_BYTES)


class Bodies:
    """Pulls announced bodies from their signer, then from whoever forwarded the announcement."""

    def __init__(self) -> None:
        self.network: Network | None = None

    async def fetch(self, body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
        """The body, unchecked. Raises `NetworkError` when neither has it."""
        if self.network is None:
            raise NetworkError("the node is not on the network")
        for holder in dict.fromkeys((peer_id(signer), forwarder)):
            try:
                return await self.network.request(holder, BODY_PROTOCOL, body_hash, size)
            except NetworkError:
                continue
        raise NetworkError("nobody who was asked has the body")
