"""A node's place in the real network, from its settings: used by the daemon and by simulations on loopback."""

from __future__ import annotations

from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.libp2p import open_libp2p
from swarm.node.opening import OpenNetwork


def libp2p_opener(home: Home, identity: Identity, config: Config, topic: str, clock: Clock) -> OpenNetwork:
    """What opens libp2p for this node, each time it is called: on the addresses of `network`, joining by `swarm.bootstrap`."""
    return lambda validate: open_libp2p(
        identity.seed,
        topic=topic,
        validate=validate,
        clock=clock,
        config=config.network,
        bootstrap=config.swarm.bootstrap,
        address_book=home.address_book,
    )
