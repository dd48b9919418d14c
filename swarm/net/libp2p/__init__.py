"""The real network: py-libp2p with settings and repairs of our own; each file says what and why."""

from swarm.net.libp2p.host import open_libp2p

__all__ = ["open_libp2p"]
