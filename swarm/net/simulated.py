"""A network in memory for many nodes in one process on trio's `MockClock`, reproducible by seed.

The model:

- A message spreads over a tree, in an order drawn per message: the publisher sends it to `DEGREE`
  peers, each of these to `DEGREE` more. An uplink is loaded as by gossip, without its duplicates.
- A copy takes the sender's uplink for size / bandwidth, one copy after another, then the link's
  latency. It may be lost.
- Repair as gossip does it: a node that lacks a message after a heartbeat fetches it from a peer
  that has it, in up to `REPAIRS` heartbeats. After that only the signers' logs show the gap.
- Requests take the same uplinks and latencies but are never lost, since streams retransmit.
- A partition cuts messages and requests.

Every draw is a hash of (seed, purpose, source, destination, message or time). The next number of a
shared generator would depend on the order in which trio schedules tasks. The draws also give every
delivery a time of its own: no two are tied, so the tasks' order is the clock's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.peer_id import peer_id as peer_id_of
from swarm.clock import Clock
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError
from swarm.net.guard import Guard
from swarm.net.inbox import Inbox
from swarm.net.network import CutOff, Handler, Network, NetworkStatistics, PeerRecord, Subscription
from swarm.net.serving import Services
from swarm.net.tally import Tally
from swarm.net.tasks import background

DEGREE = 6  # as GossipSub's mesh
HEARTBEAT_S = 1.0
REPAIRS = 5  # heartbeats for which GossipSub still answers for a message
OVERHEAD_BYTES = 160  # per copy: protobuf with message id and topic, Yamux, Noise, TCP and IP headers


@dataclass(frozen=True, slots=True)
class Partition:
    """Peers in different groups cannot reach each other from `start_s` to `end_s`.

    Peers in no group form one more group.
    """

    start_s: float
    end_s: float
    groups: tuple[frozenset[str], ...]

    def _side(self, peer_id: str) -> int:
        return next((index for index, group in enumerate(self.groups) if peer_id in group), -1)

    def separates(self, one: str, other: str, now_s: float) -> bool:
        """Whether the two peers cannot reach each other at `now_s`."""
        return self.start_s <= now_s < self.end_s and self._side(one) != self._side(other)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The network's weather: latency (s, least and most), loss (probability per copy), bandwidth.

    `bandwidth_bytes_per_s` is of each node's uplink. Partitions count seconds since the first node
    joined.
    """

    latency_s: tuple[float, float] = (0.01, 0.05)
    loss: float = 0.0
    bandwidth_bytes_per_s: float = math.inf
    partitions: tuple[Partition, ...] = ()


class MemoryNetwork:
    """The medium. Nodes `join` it; all nodes on one topic know each other at once."""

    def __init__(self, seed: int, conditions: Conditions | None = None) -> None:
        self._seed = seed
        self.conditions = conditions or Conditions()
        self._members: dict[str, MemoryNode] = {}
        self._origin_s: float | None = None

    @asynccontextmanager
    async def join(
        self, key: bytes | str, subscription: Subscription[Any], *, clock: Clock, config: NetworkSection | None = None
    ) -> AsyncIterator[Network]:
        """Put a node on this network while the context lasts.

        `key` is an Ed25519 seed (32 bytes) or just a peer id. Raises `NetworkError` if that
        identity is on the network already.
        """
        own_id = (
            key if isinstance(key, str) else peer_id_of(Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw())
        )
        if own_id in self._members:
            raise NetworkError(f"{own_id} is on the network already; one identity can run only once")
        if self._origin_s is None:
            self._origin_s = trio.current_time()
        async with background() as nursery:
            node = MemoryNode(self, own_id, subscription, clock, config or NetworkSection(), nursery)
            self._members[own_id] = node
            try:
                yield node
            finally:
                del self._members[own_id]

    def now_s(self) -> float:
        """Return the seconds since the first node joined."""
        return trio.current_time() - (self._origin_s or 0.0)

    def draw(self, purpose: str, *parts: str | bytes | int | float) -> float:
        """Return a number in [0, 1) that depends on the seed and the arguments only."""
        text = "\0".join([str(self._seed), purpose, *(part.hex() if isinstance(part, bytes) else repr(part) for part in parts)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64

    def reachable(self, source: str, destination: str) -> bool:
        """Whether `destination` is here, no partition lies between, and neither side refuses."""
        now = self.now_s()
        if destination not in self._members or any(
            partition.separates(source, destination, now) for partition in self.conditions.partitions
        ):
            return False
        willing = self._members[destination].guard.refusal(source) is None
        return willing and (source not in self._members or self._members[source].guard.refusal(destination) is None)

    def members(self, topic: str) -> list[MemoryNode]:
        """Return the nodes on a topic, sorted by peer id."""
        return sorted((node for node in self._members.values() if node.topic == topic), key=lambda node: node.peer_id)

    def member(self, peer_id: str) -> MemoryNode | None:
        """Return the node with this peer id, or None if it is not here."""
        return self._members.get(peer_id)


class MemoryNode:
    """One node on a `MemoryNetwork`; satisfies `swarm.net.network.Network`."""

    def __init__(
        self,
        network: MemoryNetwork,
        peer_id: str,
        subscription: Subscription[Any],
        clock: Clock,
        config: NetworkSection,
        nursery: trio.Nursery,
    ) -> None:
        self._network = network
        self._peer_id = peer_id
        self.topic = subscription.topic
        self._timeout_s = config.request_timeout_s
        self._most_bytes_per_s = config.max_bytes_per_s or math.inf
        self._nursery = nursery
        self._joined_ms = clock.now_ms()
        self._tally = Tally()
        self.inbox = Inbox(subscription, self._tally)
        self.guard = Guard(config, self._tally, clock)
        self._services = Services(self._tally, config.request_timeout_s, self.guard)
        self._uplink_free_s = 0.0

    @property
    def peer_id(self) -> str:
        """This node's peer id."""
        return self._peer_id

    def addresses(self) -> tuple[str, ...]:
        """Return one made-up multiaddr, which only this network can dial."""
        return (f"/memory/0/p2p/{self._peer_id}",)

    def peers(self) -> tuple[PeerRecord, ...]:
        """Return every reachable peer on the topic; all of them are connected."""
        return tuple(
            # Of two nodes, the one that joined later dialled.
            PeerRecord(
                node.peer_id,
                node.addresses(),
                connected_since_ms=max(node._joined_ms, self._joined_ms),
                inbound=node._joined_ms > self._joined_ms,
            )
            for node in self._network.members(self.topic)
            if node is not self and self._network.reachable(self._peer_id, node.peer_id)
        )

    def statistics(self) -> NetworkStatistics:
        """Return the counts since this node joined."""
        return self._tally.statistics(connections=len(self.peers()))

    def cut_off(self) -> tuple[CutOff, ...]:
        """Return the peers that are neither heard nor dialled for now."""
        return self.guard.listed()

    def judge(self, peer_id: str, standing: float, reason: str = "") -> None:
        """Cut off a peer whose score is 0; this network has no mesh to prefer anybody in."""
        self.guard.judge(peer_id, standing, reason)

    async def dial(self, address: str) -> str:
        """Check that the peer is here; return its id. Raises `NetworkError`."""
        peer_id = address.rpartition("/p2p/")[2]
        await trio.sleep(self._latency("dial", peer_id, trio.current_time()))
        if not self._network.reachable(self._peer_id, peer_id):
            raise NetworkError(f"nobody answers at {address}")
        return peer_id

    # Messages

    async def publish(self, data: bytes) -> None:
        """Send `data` down its tree, and have every node repair its own loss."""
        message_id = self.inbox.published(data)
        order = [node.peer_id for node in self._network.members(self.topic) if node is not self]
        order.sort(key=lambda peer_id: self._network.draw("tree", message_id, peer_id))
        copy = MessageCopy(data, message_id, (self._peer_id, *order))
        self._forward(copy)
        for peer_id in order:
            if node := self._network.member(peer_id):
                node._nursery.start_soon(node._repair, copy)
        await trio.lowlevel.checkpoint()

    def _forward(self, copy: MessageCopy) -> None:
        for peer_id in copy.children(self._peer_id):
            if node := self._network.member(peer_id):
                node._nursery.start_soon(node._receive, copy, self, 0, self._send(len(copy.data)))

    async def _receive(self, copy: MessageCopy, sender: MemoryNode, attempt: int, sent_s: float) -> None:
        """Carry one copy, which leaves the uplink of `sender` at `sent_s` and may be lost."""
        link = (sender.peer_id, self._peer_id, copy.message_id, attempt)
        cut = not self._network.reachable(sender.peer_id, self._peer_id)
        copy.under_way.add(self._peer_id)
        await trio.sleep_until(sent_s + sender._latency("copy", *link[1:]))
        copy.under_way.discard(self._peer_id)
        if cut or self._network.draw("loss", *link) < self._network.conditions.loss:
            return
        self._tally["wire_bytes_received"] += len(copy.data) + OVERHEAD_BYTES
        rejected = self._tally["rejected"]
        if self.inbox.arrived(copy.data, sender.peer_id):
            copy.holders.append(self._peer_id)
            self._forward(copy)
        elif self._tally["rejected"] > rejected:
            self.guard.invalid(sender.peer_id, "messages")

    async def _repair(self, copy: MessageCopy) -> None:
        """Fetch a message that the tree failed to bring, as GossipSub's IHAVE and IWANT do."""
        offset = self._network.draw("heartbeat", self._peer_id, copy.message_id)
        for attempt in range(1, REPAIRS + 1):
            await trio.sleep(HEARTBEAT_S * (1 + offset) if attempt == 1 else HEARTBEAT_S)
            if self.inbox.has(copy.message_id):
                return
            holders = sorted(peer_id for peer_id in copy.holders if self._network.reachable(self._peer_id, peer_id))
            if not holders or self._peer_id in copy.under_way:
                continue
            pick = self._network.draw("holder", self._peer_id, copy.message_id, attempt)
            holder = self._network.member(holders[int(pick * len(holders))])
            if holder is not None:
                await self._receive(copy, holder, attempt, holder._send(len(copy.data)))

    def _send(self, size: int) -> float:
        """Queue `size` bytes on this node's uplink; return the time when they have left (s)."""
        bandwidth = min(self._network.conditions.bandwidth_bytes_per_s, self._most_bytes_per_s)
        self._tally["wire_bytes_sent"] += size + OVERHEAD_BYTES
        self._uplink_free_s = max(self._uplink_free_s, trio.current_time()) + (size + OVERHEAD_BYTES) / bandwidth
        return self._uplink_free_s

    def _latency(self, purpose: str, destination: str, *parts: bytes | int | float) -> float:
        low, high = self._network.conditions.latency_s
        return low + (high - low) * self._network.draw(f"latency {purpose}", self._peer_id, destination, *parts)

    # Requests

    async def request(self, peer_id: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        """Ask one peer within the time limit of the settings. Raises `NetworkError`."""
        self._tally["requests"] += 1
        with trio.move_on_after(self._timeout_s):
            return await self._exchange(peer_id, protocol, data, max_bytes)
        raise NetworkError(f"{peer_id} did not answer {protocol} within {self._timeout_s:g} s")

    async def _exchange(self, peer_id: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        if not self._network.reachable(self._peer_id, peer_id):
            raise NetworkError(f"{peer_id} cannot be reached")
        exchange = PendingRequest()
        await self._carry(self, peer_id, data)
        server = self._network.member(peer_id)
        if server is None or not self._network.reachable(self._peer_id, peer_id):
            raise NetworkError(f"{peer_id} cannot be reached")
        # The handler runs among the server's tasks and ends with them.
        server._nursery.start_soon(server._serve, exchange, self._peer_id, protocol, data)
        await exchange.done.wait()
        if exchange.response is None:
            raise NetworkError(f"{peer_id} refused the request for {protocol}")
        if len(exchange.response) > max_bytes:
            raise NetworkError(f"{peer_id} answered {protocol} with more than {max_bytes} bytes")
        await self._carry(server, self._peer_id, exchange.response)
        self._tally["wire_bytes_received"] += len(exchange.response) + OVERHEAD_BYTES
        return exchange.response

    async def _serve(self, exchange: PendingRequest, peer_id: str, protocol: str, data: bytes) -> None:
        self._tally["wire_bytes_received"] += len(data) + OVERHEAD_BYTES
        try:
            exchange.response = await self._services.answer(peer_id, protocol, data)
        except NetworkError:
            exchange.response = None
        finally:
            exchange.done.set()

    @staticmethod
    async def _carry(sender: MemoryNode, destination: str, data: bytes) -> None:
        digest = hashlib.sha256(data).digest()
        await trio.sleep_until(sender._send(len(data)) + sender._latency("stream", destination, digest, trio.current_time()))

    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int = 65536) -> None:
        """Answer requests of `protocol` with `handler`."""
        self._services.add(protocol, handler, max_request_bytes)


class MessageCopy:
    """A message on its way: its bytes, its tree, its `holders`, the peers it is `under_way` to."""

    def __init__(self, data: bytes, message_id: bytes, order: tuple[str, ...]) -> None:
        self.data = data
        self.message_id = message_id
        self.holders = [order[0]]
        self.under_way: set[str] = set()
        self._order = order

    def children(self, peer_id: str) -> tuple[str, ...]:
        """Return the peers to which `peer_id` forwards.

        Node n of the tree, breadth first, feeds nodes n·DEGREE + 1 … n·DEGREE + DEGREE.
        """
        first = self._order.index(peer_id) * DEGREE + 1
        return self._order[first : first + DEGREE]


class PendingRequest:
    """A request under way; `response` stays None if it is refused or the server leaves."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.response: bytes | None = None
