"""Opens libp2p by a node's settings, for the daemon and for simulations on loopback."""

from __future__ import annotations

from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.libp2p import open_libp2p
from swarm.net.network import OpenNetwork


def network_opener(home: Home, identity: Identity, config: Config, clock: Clock) -> OpenNetwork:
    """Return a function that opens libp2p at each call.

    It listens on the addresses of `network` and joins by `swarm.bootstrap`.
    """
    return lambda subscription: open_libp2p(
        identity.seed,
        subscription,
        clock=clock,
        config=config.network,
        bootstrap=config.swarm.bootstrap,
        address_book=home.address_book,
    )
