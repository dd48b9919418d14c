"""The gate for inbound connections, before anything is spent on them.

A connection is *half-open* until its handshake has shown a peer id. Of too many half-open ones the
oldest of the most crowded subnet is closed. An honest handshake takes a tenth of a second and a
held one never ends, so the held ones go.

Subnets (`swarm.net.access.subnet`) have a rate of new connections, and like single addresses a
limit of their number. This machine and its local network have only a rate, and a quick one: swarms
on one machine or behind one router are ordinary here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

from swarm.config.schema import NetworkSection
from swarm.fair import Bucket
from swarm.net.access import is_local, parse_address, subnet
from swarm.net.guard import Guard
from swarm.newest import Newest

HANDSHAKE_S = 10.0
MAX_HALF_OPEN = 32
# Connections with one public IP address, and with one /24 of IPv4 or /56 of IPv6: more let larger
# households in, and larger crowds of one owner.
MAX_PER_ADDRESS = 8
MAX_PER_SUBNET = 16
# New connections per second and subnet, and at once: a handshake costs some 10 ms.
KNOCKS_PER_S, KNOCKS_BURST = 1.0, 64.0
LOCAL_KNOCKS_PER_S, LOCAL_KNOCKS_BURST = 5.0, 128.0
MAX_NEIGHBOURHOODS = 1024
# One in this many connections is kept for peers that this node dialled, so that a crowd cannot
# surround it.
DIALLED_SHARE = 5


class Connection(Protocol):
    """A connection as the gate sees it."""

    @property
    def address(self) -> str:
        """The other side's IP address, "" if unknown."""

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""

    @property
    def established(self) -> bool:
        """Whether the handshake is over."""

    @property
    def opened_s(self) -> float:
        """The time at which it was accepted or dialled, on trio's clock."""


C = TypeVar("C", bound=Connection)


class Gate:
    """Decides on inbound connections."""

    def __init__(self, config: NetworkSection, guard: Guard) -> None:
        self._config = config
        self._guard = guard
        self._knocks: Newest[str, Bucket] = Newest(MAX_NEIGHBOURHOODS)

    def refusal(self, address: str, connections: Collection[Connection]) -> str | None:
        """Return why a connection from an address is refused, given the others, or None."""
        ip = parse_address(address)
        if ip is None:
            return "an address that is none"
        if not self._guard.may_permit(ip):
            return "not permitted by network.allow and network.deny"
        area = str(subnet(ip))
        if not self._bucket(area, is_local(ip)).affords():
            return f"too many connections in a short time from {area}"
        limit = self._config.max_connections
        if sum(each.inbound and each.established for each in connections) >= limit - limit // DIALLED_SHARE:
            return "no room for inbound connections"
        if is_local(ip):
            return None
        others = [other for each in connections if (other := parse_address(each.address)) is not None]
        if others.count(ip) >= MAX_PER_ADDRESS:
            return f"too many connections from {ip}"
        if sum(str(subnet(other)) == area for other in others) >= MAX_PER_SUBNET:
            return f"too many connections from {area}"
        return None

    def _bucket(self, area: str, local: bool) -> Bucket:
        rates = (LOCAL_KNOCKS_PER_S, LOCAL_KNOCKS_BURST) if local else (KNOCKS_PER_S, KNOCKS_BURST)
        return self._knocks.obtain(area, lambda: Bucket(*rates))


def surplus(connections: Collection[C]) -> C | None:
    """Return the half-open connection to close if there are too many, or None."""
    half_open = [each for each in connections if each.inbound and not each.established]
    if len(half_open) <= MAX_HALF_OPEN:
        return None
    areas = Counter(_area(each) for each in half_open)
    crowded = max(areas.values())
    return min((each for each in half_open if areas[_area(each)] == crowded), key=lambda each: each.opened_s)


def _area(connection: Connection) -> str:
    ip = parse_address(connection.address)
    return "" if ip is None else str(subnet(ip))
