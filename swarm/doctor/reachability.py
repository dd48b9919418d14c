"""Judges whether others can reach this node, by its daemon's connections or its own addresses.

Nobody outside is asked to dial back. So without inbound connections to a daemon the verdict is
uncertain, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarm.config.schema import NetworkSection
from swarm.doctor.finding import Finding, ok, skipped, warn
from swarm.net.access import is_local, parse_address
from swarm.net.libp2p.addresses import ip_of, reached_as

FORWARD = "forward the port in your router to this machine, and name the outer address in network.announce"


@dataclass(frozen=True, slots=True)
class Seen:
    """A running daemon's answers: the addresses it tells peers and the number of its connections.

    `inbound` of these were opened by others. `gpu_hidden` says why the daemon cannot see who else
    uses the GPU (guest.gpu), "" if it can.
    """

    addresses: tuple[str, ...]
    connections: int
    inbound: int
    gpu_hidden: str

    @classmethod
    def of(cls, status: Mapping[str, Any], peers: Iterable[Mapping[str, Any]]) -> Seen:
        """Read the daemon's answers to `status` and `peers`."""
        connected = [peer for peer in peers if peer["connected"]]
        inbound = sum(peer["direction"] == "inbound" for peer in connected)
        return cls(tuple(status["addresses"]), len(connected), inbound, status["guest"]["gpu_hidden"])


def reachability(settings: NetworkSection, seen: Seen | None, *, running: bool) -> Finding:
    """Judge the reachability of the node; `seen` is None if no daemon answers."""
    if running and seen is None:
        return skipped("reachability", "the daemon does not answer yet")
    addresses = seen.addresses if seen else tuple(settings.announce) or would_announce(settings.listen)
    public = [address for address in addresses if is_public(address)]
    local = "only its own machine and local network can know it by the addresses it tells peers"
    if seen is not None and seen.connections:
        found = f"others opened {seen.inbound} of its {seen.connections} connections"
        if not seen.inbound:
            return warn("reachability", f"{found}: it may not be reachable; it is told as {', '.join(addresses)}", FORWARD)
        return ok("reachability", found) if public else warn("reachability", f"{found}, and {local}", FORWARD)
    if not public:
        return warn("reachability", f"{local}; it was not tried from outside", f"{FORWARD}, if nodes elsewhere are to dial it")
    return ok("reachability", f"others are told {', '.join(public)}; it was not tried from outside")


def would_announce(listen: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses that a node listening here would announce, without malformed ones."""
    return tuple(address for each in listen for address in reached_as(each))


def is_public(address: str) -> bool:
    """Whether an address is meaningful outside the local network, as a host name is taken to be."""
    ip = parse_address(ip_of(address))
    return ip is None or not is_local(ip)
