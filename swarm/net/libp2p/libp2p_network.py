"""One node on libp2p, as the rest of swarmd and the node's discovery see it."""

from __future__ import annotations

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID
from libp2p.rcmgr import Direction

from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError
from swarm.net.guard import Guard
from swarm.net.libp2p.addresses import ip_of, is_loopback, parse
from swarm.net.libp2p.book import AddressBook
from swarm.net.libp2p.discovery import PEERS_PROTOCOL, Discovery
from swarm.net.libp2p.gossip import TopicPubsub
from swarm.net.libp2p.request import Requests
from swarm.net.network import CutOff, Handler, NetworkStatistics, PeerRecord
from swarm.net.tally import Tally


class Libp2pNetwork:
    """One node on libp2p; satisfies `swarm.net.network.Network`."""

    def __init__(
        self,
        host: BasicHost,
        pubsub: TopicPubsub,
        book: AddressBook,
        tally: Tally,
        config: NetworkSection,
        guard: Guard,
    ) -> None:
        self._host = host
        self._pubsub = pubsub
        self._book = book
        self._tally = tally
        self._guard = guard
        guard.leave = self._leave
        self._requests = Requests(host, tally, config.request_timeout_s, guard)
        self._timeout_s = config.request_timeout_s
        self.discovery = Discovery(self, book, pubsub.topic, self._requests.request, config.max_connections)
        self.serve(PEERS_PROTOCOL, self.discovery.answer)

    @property
    def peer_id(self) -> str:
        """This node's peer id."""
        return str(self._host.get_id())

    def addresses(self) -> tuple[str, ...]:
        """Return the multiaddrs, with /p2p/<peer id>, under which others can dial this node."""
        return tuple(str(address) for address in self._host.get_addrs())

    def peers(self) -> tuple[PeerRecord, ...]:
        """Return the connected peers, then the others in the address book."""
        connected = self.connected()
        known = [
            PeerRecord(peer_id, entry.addresses) for peer_id, entry in self._book.entries.items() if peer_id not in connected
        ]
        dialled = [self._record(peer_id) for peer_id in connected]
        return (*sorted(dialled, key=_by_peer_id), *sorted(known, key=_by_peer_id))

    def _record(self, peer_id: str) -> PeerRecord:
        oldest = min(self._connections(peer_id), key=lambda connection: connection._created_at)
        inbound = oldest.direction == Direction.INBOUND
        if entry := self._book.entries.get(peer_id):
            addresses = entry.addresses
        else:
            # An inbound connection's remote port cannot be dialled.
            addresses = () if inbound else tuple(f"{address}/p2p/{peer_id}" for address in oldest.get_transport_addresses())
        return PeerRecord(peer_id, addresses, int(oldest._created_at * 1000), inbound)

    def _connections(self, peer_id: str) -> list[SwarmConn]:
        connections: list[SwarmConn] = self._host.get_network().get_connections(ID.from_string(peer_id))
        return connections

    def statistics(self) -> NetworkStatistics:
        """Return the counts since the network was opened."""
        return self._tally.statistics(len(self._host.get_network().connections))

    def cut_off(self) -> tuple[CutOff, ...]:
        """Return the peers that are neither heard nor dialled for now."""
        return self._guard.listed()

    def judge(self, peer_id: str, standing: float, reason: str = "") -> None:
        """Set a peer's score, from the node's own checks."""
        self._guard.judge(peer_id, standing, reason)

    def _leave(self, peer_id: str) -> None:
        self._pubsub.manager.run_task(self.disconnect, peer_id)

    async def publish(self, data: bytes) -> None:
        """Send `data` to everybody on the topic."""
        await self._pubsub.send(data)

    async def request(self, peer_id: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        """Ask one peer, and connect to it first if it is not connected. Raises `NetworkError`."""
        if peer_id not in self.connected():
            await self.discovery.reach(peer_id)
        return await self._requests.request(peer_id, protocol, data, max_bytes)

    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int = 65536) -> None:
        """Answer requests of `protocol` with `handler`."""
        self._requests.serve(protocol, handler, max_request_bytes)

    async def dial(self, address: str) -> str:
        """Connect to a multiaddr with /p2p/<peer id>; return the peer id. Raises `NetworkError`."""
        peer_id = await self.connect(address, self._timeout_s)
        self._book.learn(address)
        self._book.answered(peer_id, address)
        return peer_id

    # The side that discovery uses

    def connected(self) -> frozenset[str]:
        """Return the peers with an open connection."""
        return frozenset(str(peer_id) for peer_id, connections in self._host.get_network().connections.items() if connections)

    def subscribers(self) -> frozenset[str]:
        """Return the connected peers that have shown the topic."""
        return self._pubsub.subscribers()

    def nearby(self, peer_id: str) -> bool:
        """Whether the connection to a peer stays on this machine."""
        remote = [address for connection in self._connections(peer_id) for address in connection.get_transport_addresses()]
        return any(is_loopback(str(address)) for address in remote)

    def refuses(self, peer_id: str) -> bool:
        """Whether a peer is denied or cut off."""
        return self._guard.refusal(peer_id, self._guard.quota(peer_id).address) is not None

    async def connect(self, address: str, timeout_s: float) -> str:
        """Open a connection unless there is one; return the peer id. Raises `NetworkError`."""
        transport, peer_id = parse(address)
        if peer_id == self.peer_id:
            raise NetworkError(f"{address} is this node itself")
        if reason := self._guard.refusal(peer_id, ip_of(address)):
            raise NetworkError(f"{peer_id} is not spoken to: {reason}")
        if peer_id in self.connected():
            return peer_id
        with trio.move_on_after(timeout_s):
            try:
                await self._host.get_network().dial_addr(transport, ID.from_string(peer_id))
            except BaseLibp2pError as error:
                raise NetworkError(f"{address} cannot be reached: {error.__cause__ or error}") from error
            return peer_id
        raise NetworkError(f"{address} does not answer within {timeout_s:g} s")

    async def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer."""
        await self._host.disconnect(ID.from_string(peer_id))


def _by_peer_id(record: PeerRecord) -> str:
    return record.peer_id
