"""Discovery: finds peers and keeps connections open; from one address a node comes to know all.

Peers exchange the peers they know, by a request ("/swarmd/1/peers") at every new connection and now
and then later. A wrong address shows at the handshake, which proves the peer id.

Why not Kademlia, which py-libp2p has too: a swarm asks "who else is here", and one bounded list
answers that. Kademlia answers "who is closest to this key", ignores topics, and stores records for
strangers. Its routing table lives on traffic that a small swarm does not have.

One loop dials the peers that are due until there are enough connections. Bootstrap peers are tried
without end, so that a node that started alone joins later.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import trio

from protocols.codec import decode, encode
from protocols.reasons import ProtocolError
from swarm.errors import NetworkError
from swarm.net.libp2p.addresses import is_loopback
from swarm.net.libp2p.book import MAX_ADDRESSES, AddressBook

PEERS_PROTOCOL = "/swarmd/1/peers"
MAX_SHARED_PEERS = 32
MAX_EXCHANGE_BYTES = 65536
TARGET_CONNECTIONS = 12  # GossipSub's upper mesh degree: enough to choose a mesh from
DIALS_AT_ONCE = 4
DIAL_TIMEOUT_S = 5.0  # per address; a dead one answers nothing for 20 s and more
TICK_S = 0.25
ASK_AGAIN_S = 30.0  # pause between questions to a random peer; a quarter while connections are missing
YIELD_S = 1.0  # of two peers that learn of each other at once, the higher id waits for the other's dial
STRANGER_S = 15.0  # a connected peer that has not shown the topic by then is in another swarm

logger = logging.getLogger(__name__)


class Connections(Protocol):
    """The host as discovery uses it."""

    @property
    def peer_id(self) -> str:
        """Own peer id."""

    def addresses(self) -> tuple[str, ...]:
        """Return the own dialable addresses."""

    def connected(self) -> frozenset[str]:
        """Return the peers with an open connection."""

    def subscribers(self) -> frozenset[str]:
        """Return the connected peers that have shown the topic."""

    def nearby(self, peer_id: str) -> bool:
        """Whether the connection to a peer stays on this machine."""

    def refuses(self, peer_id: str) -> bool:
        """Whether a peer is denied or cut off."""

    async def connect(self, address: str, timeout_s: float) -> str:
        """Open a connection. Raises `NetworkError`."""

    async def disconnect(self, peer_id: str) -> None:
        """Close the connections to a peer."""


Ask = Callable[[str, str, bytes, int], Awaitable[bytes]]


class Discovery:
    """Keeps `book` growing and connections open.

    `ask` sends a request; `answer` is the handler of `PEERS_PROTOCOL`.
    """

    def __init__(self, host: Connections, book: AddressBook, topic: str, ask: Ask, max_connections: int) -> None:
        self._host = host
        self._book = book
        self._topic = topic
        self._ask = ask
        self._target = min(TARGET_CONNECTIONS, max_connections)
        self._dialling: set[str] = set()
        self._greeted: set[str] = set()
        self._unknown_since: dict[str, float] = {}

    async def run(self) -> None:
        """Dial, ask new peers for others, and leave strangers, without end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_asking)
            while True:
                connected = self._host.connected()
                self._greeted &= connected
                for peer_id in connected - self._greeted:
                    self._greeted.add(peer_id)
                    nursery.start_soon(self._exchange, peer_id)
                for peer_id in self._strangers(connected):
                    logger.info("%s is not in this swarm", peer_id)
                    self._book.dismiss(peer_id, trio.current_time())
                    nursery.start_soon(self._host.disconnect, peer_id)
                missing = self._target - len(connected) - len(self._dialling)
                due = self._book.due(trio.current_time(), [*connected, *self._dialling])
                for peer_id in due[: max(0, min(missing, DIALS_AT_ONCE - len(self._dialling)))]:
                    self._dialling.add(peer_id)
                    nursery.start_soon(self._dial, peer_id)
                await trio.sleep(TICK_S * random.uniform(0.5, 1.5))

    def _strangers(self, connected: frozenset[str]) -> list[str]:
        """Return the peers connected for `STRANGER_S` without showing the topic.

        Tells the book which peers have shown it, and which left before they did.
        """
        now = trio.current_time()
        friends = self._host.subscribers()
        for peer_id in friends:
            self._book.proved(peer_id)
        for peer_id in self._unknown_since.keys() - connected:
            self._book.failed(peer_id, now, alone=False)
        self._unknown_since = {peer_id: self._unknown_since.get(peer_id, now) for peer_id in connected if peer_id not in friends}
        strangers = [peer_id for peer_id, since in self._unknown_since.items() if now - since > STRANGER_S]
        for peer_id in strangers:
            del self._unknown_since[peer_id]
        return strangers

    async def _dial(self, peer_id: str) -> None:
        try:
            await self.reach(peer_id)
        except NetworkError as error:
            logger.debug("%s", error)
        finally:
            self._dialling.discard(peer_id)

    async def reach(self, peer_id: str) -> None:
        """Connect to a peer by any of its known addresses. Raises `NetworkError`."""
        entry = self._book.entries.get(peer_id)
        for address in entry.addresses if entry else ():
            with suppress(NetworkError):
                await self._host.connect(address, DIAL_TIMEOUT_S)
                self._book.answered(peer_id, address)
                return
        self._book.failed(peer_id, trio.current_time(), alone=not self._host.connected())
        raise NetworkError(f"{peer_id} answers at none of its known addresses")

    async def _keep_asking(self) -> None:
        while True:
            enough = len(self._host.connected()) >= self._target
            await trio.sleep(ASK_AGAIN_S * random.uniform(0.5, 1.5) / (1 if enough else 4))
            if connected := list(self._host.connected()):
                await self._exchange(random.choice(connected))

    # The exchange: request [topic, own addresses], answer [[address, …] of each known peer].

    async def _exchange(self, peer_id: str) -> None:
        try:
            request = encode([self._topic, list(self._host.addresses()[:MAX_ADDRESSES])])
            answer = decode(await self._ask(peer_id, PEERS_PROTOCOL, request, MAX_EXCHANGE_BYTES), MAX_EXCHANGE_BYTES)
            for addresses in _lists(answer)[:MAX_SHARED_PEERS]:
                self._learn(_texts(addresses), teller=peer_id)
        except (NetworkError, ProtocolError) as error:
            logger.debug("no peers from %s: %s", peer_id, error)

    async def answer(self, peer_id: str, request: bytes) -> bytes:
        """Answer with the peers this node knows, and learn where the asking one listens.

        Raises `NetworkError` for a peer of another swarm.
        """
        value = decode(request, MAX_EXCHANGE_BYTES)
        if not isinstance(value, list) or len(value) != 2 or value[0] != self._topic:
            raise NetworkError(f"{peer_id} asks about another swarm")
        self._learn([address for address in _texts(value[1]) if address.endswith(f"/p2p/{peer_id}")], teller=peer_id)
        connected = self._host.connected()
        known = [
            entry
            for other, entry in self._book.entries.items()
            if other != peer_id and (other in connected or not entry.failures) and not self._host.refuses(other)
        ]
        known.sort(key=lambda entry: entry.addresses[0].rpartition("/p2p/")[2] not in connected)
        return encode([list(entry.addresses) for entry in known[:MAX_SHARED_PEERS]])

    def _learn(self, addresses: list[str], teller: str) -> None:
        nearby = self._host.nearby(teller)
        for address in addresses[:MAX_ADDRESSES]:
            with suppress(NetworkError):
                peer_id = address.rpartition("/p2p/")[2]
                wait = YIELD_S if self._host.peer_id > peer_id else 0.0
                # Another machine's loopback addresses lead back to this one.
                if nearby or not is_loopback(address):
                    self._book.learn(address, first_dial_s=trio.current_time() + wait)


def _lists(value: object) -> list[object]:
    if not isinstance(value, list):
        raise NetworkError("a list was expected")
    return value


def _texts(value: object) -> list[str]:
    return [text for text in _lists(value) if isinstance(text, str)]
