"""A node's access to the network, which may close and open again while the node lives."""

from __future__ import annotations

import hashlib

from protocols.peer_id import peer_id
from swarm.errors import NetworkError
from swarm.net.network import Network

BODY_PROTOCOL = "/swarmd/1/body"


class Uplink:
    """The open `network` of the node; None while there is none."""

    def __init__(self) -> None:
        self.network: Network | None = None

    def connected(self) -> int:
        """Return the number of peers with an open connection."""
        return sum(peer.connected for peer in self.network.peers()) if self.network else 0

    def addresses(self) -> tuple[str, ...]:
        """Return the multiaddrs under which others can dial this node."""
        return self.network.addresses() if self.network else ()

    async def publish(self, data: bytes) -> None:
        """Send to everybody on the topic; to nobody while there is no network. Raises
        `NetworkError`."""
        if self.network is not None:
            await self.network.publish(data)

    async def fetch_body(self, body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
        """Pull an announced body from its signer, then from the peer that forwarded the
        announcement.

        Returns the body, or else the signer's wrong answer. Raises `NetworkError` when neither has
        it.
        """
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
            # Only the signer's own answer can be held against it.
            refused = body if holder == peer_id(signer) else refused
        if refused is None:
            raise NetworkError("nobody who was asked has the body")
        return refused
