"""A node's place in the real network, from its settings: used by the daemon and by simulations on loopback."""

from __future__ import annotations

from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.libp2p import open_libp2p
from swarm.net.network import OpenNetwork


def libp2p_opener(home: Home, identity: Identity, config: Config, clock: Clock) -> OpenNetwork:
    """Return what opens libp2p, each time it is called: on the addresses of `network`, joining by `swarm.bootstrap`."""
    return lambda subscription: open_libp2p(
        identity.seed,
        subscription,
        clock=clock,
        config=config.network,
        bootstrap=config.swarm.bootstrap,
        address_book=home.address_book,
    )
