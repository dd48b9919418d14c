"""Finds a round of the swarm's drand chain: on the web and among the peers at once; the first
verified answer wins.

Nobody is believed, so any source will do. A peer can make this node verify one round for each
request that this node has sent it, and none after the first wrong one.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from protocols.drand import Chain, verify_round
from protocols.limits import ROUND_SIGNATURE_BYTES
from protocols.reasons import ProtocolError
from swarm.beacon.drand_web import ANSWER_WITHIN_S, fetch_round
from swarm.clock import Clock
from swarm.errors import ConfigError, NetworkError
from swarm.net.network import Network
from swarm.newest import Newest

BEACON_PROTOCOL = "/swarmd/1/beacon"
REQUEST_BYTES = 8  # the round's number, big-endian

PEERS_ASKED = 4  # at once; at most half of them because they seemed to have it
SEARCH_S = 12.0
LIARS_KEPT = 256
# On virtual time: the modelled cost of a web request and of a verification.
_WEB_COST_S, _VERIFY_COST_S = 0.1, 0.002

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A verified round: its signature (48 bytes), from "web" or "peers"."""

    signature: bytes
    source: str


class RoundSources:
    """The sources of one chain's rounds. `network` returns the node's network, or None.

    Raises `ConfigError` for a malformed web address.
    """

    def __init__(self, chain: Chain, urls: Sequence[str], clock: Clock, network: Callable[[], Network | None]) -> None:
        for url in urls:
            if not url.startswith(("https://", "http://")):
                raise ConfigError(f"swarm.beacon_urls: {url!r} is no web address; write https:// and a drand server's name")
        self._chain = chain
        # In the order of asking.
        self._urls = list(urls)
        self._clock = clock
        self._network = network
        self._busy: set[str] = set()
        self._liars: Newest[str, None] = Newest(LIARS_KEPT)
        self.invalid = 0
        self.last_error = "nobody was asked yet"

    async def find(self, round: int, *, on_web: bool, holders: Sequence[str]) -> Found | None:
        """Search for up to `SEARCH_S`: on the web, if the round may be published, and among peers,
        `holders` first. Returns None if no answer verifies."""
        found: list[Found] = []

        async def attempt(source: str, name: str, ask: Callable[[], Awaitable[bytes]]) -> None:
            try:
                signature = await ask()
            except NetworkError as error:
                self.last_error = str(error)
                return
            if await self.verified(round, signature, name):
                found.append(Found(signature, source))
                nursery.cancel_scope.cancel()
            elif source == "peers":
                self._liars[name] = None

        async def web() -> None:
            for url in list(self._urls):
                # Moves behind the others, unless it has the round.
                self._urls.append(self._urls.pop(0))
                await attempt("web", url, partial(self._from_web, url, round))
                if found:
                    self._urls.insert(0, self._urls.pop())
                    return

        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + SEARCH_S
            if on_web:
                nursery.start_soon(web)
            for peer in self._askable(round, holders):
                nursery.start_soon(attempt, "peers", peer, partial(self._from_peer, peer, round))
        return found[0] if found else None

    async def verified(self, round: int, signature: bytes, name: str) -> bool:
        """Return whether it is the chain's signature of the round; if not, count and log it."""
        try:
            async with self._clock.work(_VERIFY_COST_S):
                await trio.to_thread.run_sync(verify_round, self._chain, round, signature)
        except ProtocolError as error:
            self.invalid += 1
            self.last_error = f"{name} gave a wrong round: {error}"
            logger.warning("round %d from %s is refused: %s", round, name, error)
            return False
        return True

    def _askable(self, round: int, holders: Sequence[str]) -> list[str]:
        """Return the peers to ask: the newest holders, and connected peers, different ones each
        time."""
        network = self._network()
        if network is None:
            return []
        moment = f"{network.peer_id} {round} {self._clock.now_ms()} ".encode()
        connected = [peer.peer_id for peer in network.peers() if peer.connected]
        connected.sort(key=lambda each: hashlib.sha256(moment + each.encode()).digest())
        honest = [peer for peer in holders if peer not in self._liars][-PEERS_ASKED // 2 :]
        asked = dict.fromkeys([*honest, *(peer for peer in connected if peer not in self._liars)])
        return [peer for peer in asked if peer != network.peer_id][:PEERS_ASKED]

    async def _from_web(self, url: str, round: int) -> bytes:
        # A server that drips its answer holds one thread, not this node; it is skipped meanwhile.
        if url in self._busy:
            raise NetworkError(f"{url} still owes an answer")

        def fetch() -> bytes:
            # The thread marks itself: one abandoned before its start would never remove a mark.
            self._busy.add(url)
            try:
                return fetch_round(url, self._chain.hash, round)
            finally:
                self._busy.discard(url)

        with trio.move_on_after(ANSWER_WITHIN_S):
            async with self._clock.work(_WEB_COST_S):
                return await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)  # type: ignore[call-arg]  # of old stubs
        raise NetworkError(f"{url} did not answer for round {round} within {ANSWER_WITHIN_S:g} s")

    async def _from_peer(self, peer: str, round: int) -> bytes:
        network = self._network()
        if network is None:
            raise NetworkError("the node is not on the network")
        return await network.request(peer, BEACON_PROTOCOL, round.to_bytes(REQUEST_BYTES), ROUND_SIGNATURE_BYTES)
