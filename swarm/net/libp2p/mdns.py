"""Finds peers of the same swarm on the local network by multicast (mDNS), with py-libp2p's parts.

The service name holds a hash of the topic, so that only nodes of one swarm see each other. zeroconf
works in threads of its own. Its finds are copied into the address book, where discovery dials them
like any other claim.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress

import trio
from libp2p.discovery.mdns.mdns import MDNSDiscovery, create_mdns_discovery
from libp2p.host.basic_host import BasicHost
from libp2p.peer.peerstore import PeerStoreError

from swarm.errors import NetworkError
from swarm.net.libp2p.addresses import is_loopback
from swarm.net.libp2p.book import AddressBook

LOOK_S = 2.0

logger = logging.getLogger(__name__)


async def look_around(host: BasicHost, topic: str, book: AddressBook) -> None:
    """Announce this node, and note the peers found, without end.

    On a machine without multicast it logs that and returns.
    """
    try:
        # Opening sockets and registering takes a second or two.
        mdns = await trio.to_thread.run_sync(_announce, host, topic)
    except OSError as error:
        logger.warning("this machine has no multicast, so mDNS finds no peers: %s", error)
        return
    try:
        while True:
            await trio.sleep(LOOK_S)
            for peer_id, _ in list(mdns.listener.discovered_services.values()):
                with suppress(PeerStoreError, NetworkError):
                    for address in host.get_peerstore().addrs(peer_id):
                        book.learn(f"{address}/p2p/{peer_id}", first_dial_s=trio.current_time())
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(_withdraw, mdns)


def _announce(host: BasicHost, topic: str) -> MDNSDiscovery:
    # py-libp2p would announce 0.0.0.0, under which every neighbour finds only itself.
    own = [str(address) for address in host.get_addrs()]
    addresses = [address for address in own if not is_loopback(address)] or own
    port = int(host.get_transport_addrs()[0].value_for_protocol("tcp"))
    # A service name has at most 15 characters: "p2p-" and these 11.
    fingerprint = hashlib.sha256(topic.encode()).hexdigest()[:11]
    mdns = create_mdns_discovery(host.get_network(), port=port, listen_addrs=addresses, private_network_fingerprint=fingerprint)
    mdns.broadcaster.register()
    return mdns


def _withdraw(mdns: MDNSDiscovery) -> None:
    mdns.broadcaster.unregister()
    mdns.listener.stop()
    mdns.zeroconf.close()
