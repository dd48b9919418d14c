"""A node's libp2p host, opened and closed as one: TCP to GossipSub, requests and discovery.

py-libp2p's `new_host` also offers plaintext, SECIO, TLS and mplex to anyone who asks. Plaintext
lets anyone claim any peer id, so the host is put together here from the wanted parts only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

# Off: Yamux returns flow-control credit in halves of a window, not with every read, which takes
# fewer frames and locks.
os.environ.setdefault("PY_YAMUX_RELEASE_ON_READ", "0")

from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from swarm.clock import Clock
from swarm.config.schema import NetworkSection
from swarm.errors import NetworkError
from swarm.net.guard import Guard
from swarm.net.inbox import Inbox
from swarm.net.libp2p.addresses import dialable
from swarm.net.libp2p.book import AddressBook
from swarm.net.libp2p.gate import HANDSHAKE_S, MAX_HALF_OPEN, Gate
from swarm.net.libp2p.gossip import TopicPubsub
from swarm.net.libp2p.isolation import IsolatingManager, isolated
from swarm.net.libp2p.libp2p_network import Libp2pNetwork
from swarm.net.libp2p.mdns import look_around
from swarm.net.libp2p.mesh import MeshRouter
from swarm.net.libp2p.streams import Streams
from swarm.net.libp2p.transport import CountedTCP
from swarm.net.libp2p.upgrade import Upgrader
from swarm.net.line import Line
from swarm.net.network import Network, Subscription
from swarm.net.tally import Tally
from swarm.net.tasks import background

GOODBYE_S = 0.1  # for telling peers; py-libp2p does so at once, then sleeps a few tenths of a second
CLOSE_S = 2.0  # for all of closing; tasks that have not ended by then are cancelled
SAVE_S = 30.0  # between writes of the address book

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_libp2p(
    seed: bytes,
    subscription: Subscription[Any],
    *,
    clock: Clock,
    config: NetworkSection,
    bootstrap: Sequence[str] = (),
    address_book: Path | None = None,
) -> AsyncIterator[Network]:
    """Put this node on the real network while the context lasts.

    `seed` is its Ed25519 private key (32 bytes), `bootstrap` multiaddrs with /p2p/<peer id> to join
    by, `address_book` a file that remembers peers across restarts. Raises `NetworkError` if it
    cannot listen, and out of the context if the host breaks.
    """
    # py-libp2p logs per frame and per message, and ordinary disconnections as errors.
    logging.getLogger("libp2p").setLevel(logging.CRITICAL)
    tally = Tally()
    async with background() as nursery:
        guard = Guard(config, tally, clock)
        tcp = CountedTCP(nursery, tally, guard, Gate(config, guard), Line(config.max_bytes_per_s))
        host = _assemble(seed, config, tcp, tally, guard)
        inbox = Inbox(subscription, tally)
        router = MeshRouter(tally, guard)
        pubsub = TopicPubsub(host, router, subscription.topic, inbox, tally, guard)
        book = AddressBook(str(host.get_id()), address_book)
        for address in bootstrap:
            book.learn(address, lasting=True)
        network = Libp2pNetwork(host, pubsub, book, tally, config, guard)
        managers = [IsolatingManager(service, tally) for service in (host.get_network(), router, pubsub)]
        for manager in managers:
            await manager.start_in(nursery)
        try:
            await pubsub.wait_until_ready()
            await pubsub.subscribe(subscription.topic)
            for address in config.listen:
                await _listen(host, address)
            async with background() as tasks:
                tasks.start_soon(network.discovery.run)
                tasks.start_soon(_keep_saving, book)
                if config.mdns:
                    tasks.start_soon(look_around, host, subscription.topic, book)
                yield network
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                book.save()
                await _close(host, managers)
            tcp.abort()


class NoConnector(AutoConnector):  # type: ignore[misc]
    """Dials nobody.

    Whenever a peer leaves, py-libp2p's connector dials every peer it ever met, at any addresses
    that those named.
    """

    async def maybe_connect(self) -> None:
        """Do nothing: discovery decides about dialling."""

    def record_disconnect(self, peer_id: ID) -> None:
        """Remember nothing."""


def _assemble(seed: bytes, config: NetworkSection, tcp: CountedTCP, tally: Tally, guard: Guard) -> BasicHost:
    key_pair = create_new_key_pair(seed)
    peer_id = ID.from_pubkey(key_pair.public_key)
    peerstore = PeerStore()
    peerstore.add_key_pair(peer_id, key_pair)
    noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
    network = Swarm(
        peer_id,
        peerstore,
        Upgrader({NOISE: noise}, {YAMUX: Yamux}, guard),
        transports=[tcp],
        # Discovery decides when to try again; retries inside a dial only delay its failure.
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            max_connections=config.max_connections,
            inbound_upgrade_timeout=HANDSHAKE_S,
            outbound_upgrade_timeout=HANDSHAKE_S,
            high_watermark=config.max_connections,
            # Discovery keeps connections up.
            min_connections=0,
            low_watermark=0,
            auto_connect_interval=1e9,
        ),
    )
    network.auto_connector = NoConnector(network)
    # py-libp2p's limit counts half-open connections among the others; the gate keeps them apart.
    network._inbound_limiter = trio.CapacityLimiter(config.max_connections + MAX_HALF_OPEN + 1)
    announced = [Multiaddr(address) for address in config.announce]

    def advertised(bound: list[Multiaddr]) -> list[Multiaddr]:
        return announced or [address for each in bound for address in dialable(each)]

    host = BasicHost(network, addrs_factory=advertised, disable_identify_address_discovery=True)

    network.set_stream_handler(isolated(Streams(host, tally, guard).handle, tally))
    return host


async def _listen(host: BasicHost, address: str) -> None:
    try:
        bound = Multiaddr(address)
    except ValueError as error:
        raise NetworkError(f"network.listen: {address!r} is not a multiaddr; write it like /ip4/0.0.0.0/tcp/4711") from error
    if not await host.get_network().listen(bound):
        raise NetworkError(f"cannot listen on {address}; write it like /ip4/0.0.0.0/tcp/4711")


async def _keep_saving(book: AddressBook) -> None:
    while True:
        await trio.sleep(SAVE_S)
        await trio.to_thread.run_sync(book.save)


async def _close(host: BasicHost, managers: list[IsolatingManager]) -> None:
    for listener in host.get_network().listeners.values():
        await listener.close()
    with trio.move_on_after(GOODBYE_S):
        async with trio.open_nursery() as nursery:
            for peer_id in host.get_connected_peers():
                nursery.start_soon(host.disconnect, peer_id)
    for manager in reversed(managers):
        await manager.stop()
