"""The face of a network: a topic to publish and hear on, bounded requests to peers, and counts.

There are two networks behind this face: `swarm.net.libp2p` (TCP, Noise, Yamux, GossipSub) and
`swarm.net.simulated` (seeded, on virtual time). A node cannot tell which one it is on. Neither
promises delivery: a missed message shows as a gap in a signer's log and is requested.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

# GossipSub drops an RPC above 1 MiB silently; this leaves room for its framing. Larger bodies are
# announced and pulled.
MAX_MESSAGE_BYTES = 1_000_000


class Verdict(Enum):
    """Why a message is neither delivered nor forwarded.

    `REJECT` blames the peer that forwarded it; `IGNORE` drops it without blame (stale, or of an
    unknown version).
    """

    REJECT = "reject"
    IGNORE = "ignore"


T = TypeVar("T")


# Answers a request: (peer id, request bytes) -> response bytes. Any exception refuses the request.
Handler = Callable[[str, bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """A message of the topic as received, with its `opened` form.

    `peer` forwarded it and need not have written it.
    """

    data: bytes
    opened: T
    peer: str


@dataclass(frozen=True, slots=True)
class Subscription(Generic[T]):
    """How one node treats a topic's messages. A network knows nothing about their opened form `T`.

    `validate` is called once per message and returns its opened form, or a `Verdict` to drop it. It
    runs inside the event loop, so it must be cheap (signature and schema, about 1 ms). `take` gets
    each opened message, must not wait, and returns the number of waiting messages it dropped.
    """

    topic: str
    validate: Callable[[bytes], T | Verdict]
    take: Callable[[Message[T]], int]


def deaf(topic: str) -> Subscription[bytes]:
    """Return the subscription of a node that hears nothing: it only asks, and answers requests."""
    return Subscription(topic, lambda data: Verdict.IGNORE, lambda message: 0)


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A peer this node knows, with its dialable multiaddrs.

    `connected_since_ms` (since 1970) and `inbound` (whether the peer dialled) are None for a peer
    that is not connected.
    """

    peer_id: str
    addresses: tuple[str, ...]
    connected_since_ms: int | None = None
    inbound: bool | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is open; other known peers may be dialled later."""
        return self.connected_since_ms is not None


@dataclass(frozen=True, slots=True)
class CutOff:
    """A peer that is neither heard nor dialled, with the reason and the times (ms since 1970).

    `address` is its last known one, or "".
    """

    peer_id: str
    address: str
    reason: str
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class NetworkStatistics:
    """Counts since the network was opened.

    `payload_bytes_*` sum the messages' own lengths as published and as delivered. `wire_bytes_*`
    are all bytes on the connections: duplicates, encryption, multiplexing, gossip and requests
    included.

    - `messages_dropped`: lost from the full queue in front of admission.
    - `sends_dropped`: copies lost from a slow peer's full outgoing queue.
    - `not_forwarded`: delivered messages over the budgets of forwarding.
    - `faults`: exceptions in background tasks that were isolated and logged.
    - `throttled`: pauses in reading a peer over its quota.
    - `cut_offs`: peers cut off.
    - `streams_refused`: streams of a peer with too many open.
    - `connections_refused`: inbound connections (lists, limits, cut-offs).
    - `handshakes_failed`: accepted connections that did not finish their handshake in time.
    """

    messages_sent: int = 0
    messages_received: int = 0
    messages_dropped: int = 0
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    payload_bytes_sent: int = 0
    payload_bytes_received: int = 0
    wire_bytes_sent: int = 0
    wire_bytes_received: int = 0
    sends_dropped: int = 0
    requests: int = 0
    requests_served: int = 0
    requests_refused: int = 0
    faults: int = 0
    connections: int = 0
    not_forwarded: int = 0
    throttled: int = 0
    cut_offs: int = 0
    streams_refused: int = 0
    connections_refused: int = 0
    handshakes_failed: int = 0


class Network(Protocol):
    """One node's place in a network."""

    @property
    def peer_id(self) -> str:
        """This node's peer id (base58btc, "12D3Koo…"), made from its Ed25519 public key."""

    def addresses(self) -> tuple[str, ...]:
        """Return the multiaddrs, with /p2p/<peer id>, under which others can dial this node."""

    def peers(self) -> tuple[PeerRecord, ...]:
        """Return the connected peers, then the other known ones, each sorted by peer id."""

    def statistics(self) -> NetworkStatistics:
        """Return the counts since the network was opened."""

    def cut_off(self) -> tuple[CutOff, ...]:
        """Return the peers that are neither heard nor dialled for now, the latest first."""

    def judge(self, peer_id: str, standing: float, reason: str = "") -> None:
        """Set a peer's score, from the node's own checks: 1 is ordinary and the default.

        Less makes it a less preferred neighbour; 0 cuts it off with `reason`.
        """

    async def publish(self, data: bytes) -> None:
        """Send `data` to everybody else on the topic.

        Raises `NetworkError` above `MAX_MESSAGE_BYTES`.
        """

    async def request(self, peer_id: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        """Ask one peer and return its answer of at most `max_bytes`.

        Raises `NetworkError` if the peer is unknown, cannot be reached, refuses, answers too much,
        or does not answer within `network.request_timeout_s`.
        """

    def serve(self, protocol: str, handler: Handler, *, max_request_bytes: int = 65536) -> None:
        """Answer requests of `protocol`, a name like "/swarmd/1/body", with `handler`.

        Requests are bounded in size, number and time.
        """

    async def dial(self, address: str) -> str:
        """Connect to a multiaddr with /p2p/<peer id>; return the peer id. Raises `NetworkError`."""


# Puts a node onto a network while the context lasts.
OpenNetwork = Callable[[Subscription[Any]], AbstractAsyncContextManager[Network]]
