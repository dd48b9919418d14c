"""The real network: py-libp2p with our own settings and repairs; each file says why."""

from swarm.net.libp2p.host import open_libp2p

__all__ = ["open_libp2p"]
