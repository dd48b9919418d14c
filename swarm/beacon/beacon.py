"""The public value of each epoch, for all parts of a node.

With drand the value of an epoch becomes known some seconds after it began, and then comes from the
web or from a peer. A signed round is the same everywhere and can be checked whoever brings it. So
all waiting is in one background part, `DrandBeacon.run`:

    missing?  ──▶  ask the web and  ──▶  keep the first that      ──▶  wake all
                   some peers            verifies, in the store too    who wait

Everybody else asks `value`, which answers at once. While it is None, the proposer goes on in the
epoch before, and admission lets shares of that epoch wait aside, bounded in time and number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol

import trio

from protocols.drand import drand_beacon, randomness_of, round_of_epoch
from protocols.limits import MAX_INTEGER
from protocols.manifest import Manifest, epoch_of
from protocols.peer_id import peer_id
from protocols.recipe import local_beacon
from swarm.beacon.sources import BEACON_PROTOCOL, REQUEST_BYTES, RoundSources
from swarm.context import Context
from swarm.errors import NetworkError
from swarm.fair import Places
from swarm.net.network import Network
from swarm.newest import Newest
from swarm.pool.admission.epochs import proposable, taken
from swarm.pool.pool import Pool
from swarm.pool.store import beacon_table

PUBLISHED_AFTER_S = 1.0  # a round is on the web about this long after its time
FIRST_PAUSE_S = 1.0  # between two searches for a round that is missing; doubles up to
LONGEST_PAUSE_S = 30.0
HOLDERS_KEPT = 8  # peers that made or forwarded a share of an epoch, so may have its round
MAX_WAITING = 32  # shares that wait for their epoch's value, up to 768 KiB each
MAX_WAITING_PER_SIGNER = 2
WAIT_S = 8.0
EPOCHS_KEPT = 64  # in memory; the store has the others


@dataclass(frozen=True, slots=True)
class BeaconStatistics:
    """The rounds known and their sources.

    `epoch` is the newest whose value is known, and `round` its round. `from_…` count verified
    rounds since the start, `invalid` wrong ones. `problem` says why no tasks can be proposed, and
    the remedy.
    """

    kind: str
    epoch: int | None = None
    round: int | None = None
    from_store: int = 0
    from_web: int = 0
    from_peers: int = 0
    invalid: int = 0
    problem: str = ""


class Beacon(Protocol):
    """The source of a swarm's public randomness."""

    def value(self, epoch: int) -> bytes | None:
        """Return the public value (32 bytes) of an epoch; None while it is unknown here."""

    def lacks(self, epoch: int) -> bool:
        """Return whether shares of this epoch are taken now and its value is still unknown."""

    async def seek(self, epoch: int, forwarder: str, signer: bytes) -> None:
        """Wait a bounded time for an epoch's value. `signer` (key) made and `forwarder` (peer id)
        sent a share of that epoch."""

    def serve(self, network: Network) -> None:
        """Answer requests of a network's peers for rounds of the beacon."""

    def problem(self) -> str:
        """Return why no tasks can be proposed now, and the remedy; "" when they can."""

    def statistics(self) -> BeaconStatistics:
        """Return the newest known epoch, and counts since the node started."""


class LocalBeacon:
    """Values that follow from the manifest: known to everybody beforehand."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest_id = manifest.id

    def value(self, epoch: int) -> bytes:
        """Return the value (32 bytes) of any epoch."""
        return local_beacon(self._manifest_id, epoch)

    def lacks(self, epoch: int) -> bool:
        """Return False: every value is known."""
        return False

    async def seek(self, epoch: int, forwarder: str, signer: bytes) -> None:
        """Return at once: every value is known."""

    def serve(self, network: Network) -> None:
        """Do nothing: peers need no rounds."""

    def problem(self) -> str:
        """Return "": tasks can always be proposed."""
        return ""

    def statistics(self) -> BeaconStatistics:
        """Return the kind alone; nothing is counted."""
        return BeaconStatistics("local")


class DrandBeacon:
    """Values made of the rounds of the manifest's drand chain, which must be set."""

    def __init__(self, context: Context, pool: Pool, network: Callable[[], Network | None]) -> None:
        manifest, urls = context.manifest, context.config.swarm.beacon_urls
        assert manifest.drand is not None, "only a swarm with drand has such a beacon"  # noqa: S101
        self._manifest = manifest
        self._chain = manifest.drand
        self._addresses = len(urls)
        self._sources = RoundSources(manifest.drand, urls, context.clock, network)
        self._pool = pool
        self._clock = context.clock
        self._network = network
        self._signatures: dict[int, bytes] = {}
        self._values: dict[int, bytes] = {}
        self._holders: dict[int, Newest[str, None]] = {}
        self._waiting: Places[bytes] = Places(MAX_WAITING, MAX_WAITING_PER_SIGNER)
        self._kept: Counter[str] = Counter()
        self._changed = trio.Event()
        self._wanted = trio.Event()

    def value(self, epoch: int) -> bytes | None:
        """Return the value (32 bytes) of an epoch whose round is known, else None."""
        return self._values.get(epoch)

    def lacks(self, epoch: int) -> bool:
        """Return whether waiting for this epoch's value is worth it."""
        return epoch not in self._values and epoch in self._near()

    async def seek(self, epoch: int, forwarder: str, signer: bytes) -> None:
        """Wait up to `WAIT_S` for the value of a current epoch; not at all when too many wait
        already."""
        if not self.lacks(epoch) or self._waiting.full() or self._waiting.full_for(signer):
            return
        holders = self._holders.setdefault(epoch, Newest(HOLDERS_KEPT))
        for holder in (forwarder, peer_id(signer)):
            holders[holder] = None
        self._wanted.set()
        with self._waiting.taken(signer), trio.move_on_after(WAIT_S):
            while epoch not in self._values:
                await self._changed.wait()

    def serve(self, network: Network) -> None:
        """Answer requests for the signatures of rounds that were verified here."""
        network.serve(BEACON_PROTOCOL, self.answer, max_request_bytes=REQUEST_BYTES)

    async def answer(self, peer: str, request: bytes) -> bytes:
        """Answer `BEACON_PROTOCOL` with the signature of a round verified here. Raises
        `NetworkError` for any other round."""
        round = int.from_bytes(request)
        if len(request) != REQUEST_BYTES or round > MAX_INTEGER:
            raise NetworkError(f"a round is asked for with its number in {REQUEST_BYTES} bytes, at most 2^53 - 1")
        for epoch, signature in self._signatures.items():
            if self._round(epoch) == round:
                return signature
        held = await self._pool.run(lambda store: beacon_table.signature_of(store, round))
        if held is None:
            raise NetworkError("that round is not held here")
        return held

    def problem(self) -> str:
        """Return why no tasks can be proposed now, and the remedy; "" when they can."""
        now_ms = self._clock.now_ms()
        if any(epoch in self._values for epoch in proposable(self._manifest, now_ms)):
            return ""
        epoch = epoch_of(self._manifest, now_ms)
        peers = sum(peer.connected for peer in network.peers()) if (network := self._network()) else 0
        return (
            f"drand's round {self._round(epoch)} of epoch {epoch} came neither from the web ({self._addresses} addresses in "
            f"swarm.beacon_urls) nor from a peer ({peers} connected); last: {self._sources.last_error}; check this machine's "
            "clock and its way to the web, or connect to a peer that has one"
        )

    def statistics(self) -> BeaconStatistics:
        """Return the newest known epoch, and counts since the node started."""
        newest = max(self._values, default=None)
        return BeaconStatistics(
            kind="drand",
            epoch=newest,
            round=None if newest is None else self._round(newest),
            from_store=self._kept["store"],
            from_web=self._kept["web"],
            from_peers=self._kept["peers"],
            invalid=self._sources.invalid,
            problem=self.problem(),
        )

    # The background part

    async def restore(self) -> None:
        """Load the rounds of current epochs from the store, and verify them again, since files get
        damaged."""
        for epoch in self._near():
            held = await self._pool.run(partial(beacon_table.at, epoch=epoch))
            if held is not None and await self._sources.verified(self._round(epoch), held[1], "the store"):
                self._take(epoch, held[1], "store")

    async def run(self) -> None:
        """Look for the rounds of this epoch and the one before, then the next one's, until
        cancelled."""
        pause = FIRST_PAUSE_S
        while True:
            for epoch in self._missing():
                await self._search(epoch)
            if self._missing():
                # Rest at least this long, whatever is asked: a peer must not set the pace.
                await trio.sleep(FIRST_PAUSE_S)
                await self._rest(pause - FIRST_PAUSE_S)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                pause = FIRST_PAUSE_S
                await self._rest(self._until_next())

    async def _rest(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._wanted.wait()
        self._wanted = trio.Event()

    def _near(self) -> range:
        """Return the epochs of which shares are taken now."""
        return taken(self._manifest, self._clock.now_ms())

    def _missing(self) -> list[int]:
        """Return the epochs to look for, newest first.

        Their rounds are published by this node's clock, or somebody has used them.
        """
        near = self._near()
        self._holders = {epoch: holders for epoch, holders in self._holders.items() if epoch in near}
        return [
            epoch for epoch in reversed(near) if epoch not in self._values and (self._published(epoch) or epoch in self._holders)
        ]

    def _until_next(self) -> float:
        """Return the seconds until the next round unknown here is published."""
        now_ms = self._clock.now_ms()
        unknown = next(epoch for epoch in count(epoch_of(self._manifest, now_ms)) if epoch not in self._values)
        return self._published_s(unknown) - now_ms / 1000

    def _published(self, epoch: int) -> bool:
        return self._published_s(epoch) <= self._clock.now_ms() / 1000

    def _published_s(self, epoch: int) -> float:
        return self._chain.time_of(self._round(epoch)) + PUBLISHED_AFTER_S

    def _round(self, epoch: int) -> int:
        return round_of_epoch(self._chain, self._manifest.epoch_seconds, epoch)

    async def _search(self, epoch: int) -> None:
        round, holders = self._round(epoch), tuple(self._holders.get(epoch, ()))
        found = await self._sources.find(round, on_web=self._published(epoch), holders=holders)
        if found is not None:
            self._take(epoch, found.signature, found.source)
            await self._pool.run(lambda store: beacon_table.keep(store, epoch, round, found.signature))

    def _take(self, epoch: int, signature: bytes, source: str) -> None:
        """Keep a verified round, and wake all who wait for it."""
        self._signatures[epoch] = signature
        self._values[epoch] = drand_beacon(self._manifest.id, epoch, randomness_of(signature))
        for old in sorted(self._values)[:-EPOCHS_KEPT]:
            del self._values[old], self._signatures[old]
        self._kept[source] += 1
        changed, self._changed = self._changed, trio.Event()
        changed.set()
