"""Access rules: the operator's allow and deny lists, and the subnets of addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from protocols.peer_id import public_key
from protocols.reasons import ProtocolError
from swarm.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Range = ipaddress.IPv4Network | ipaddress.IPv6Network

# One household or rented server has this much: an IPv4 /24 costs about as much as an IPv6 /56.
SUBNET_BITS = {4: 24, 6: 56}


@lru_cache(1024)
def parse_address(text: str) -> Address | None:
    """Return an IP address without its zone, an IPv4-mapped one as IPv4; None for other text."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(1024)
def subnet(address: Address) -> Range:
    """Return the range of addresses around this one that an owner gets cheaply."""
    return ipaddress.ip_network((address, SUBNET_BITS[address.version]), strict=False)


def is_local(address: Address) -> bool:
    """Whether an address is on this machine or its local network, where nodes may share one."""
    return address.is_loopback or address.is_private or address.is_link_local


@dataclass(frozen=True, slots=True)
class Rules:
    """One list: peer ids, and ranges of addresses."""

    peers: frozenset[str]
    ranges: tuple[Range, ...]

    @staticmethod
    def parse(name: str, entries: Sequence[str]) -> Rules:
        """Parse the entries of the setting `name`.

        Raises `ConfigError` for an entry that is no peer id, address or range of addresses.
        """
        peers, ranges = set(), []
        for entry in entries:
            try:
                ranges.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                try:
                    public_key(entry)
                except ProtocolError as error:
                    raise ConfigError(
                        f"{name}: {entry!r} is neither a peer id nor a range of addresses; write 12D3Koo… or 192.0.2.0/24"
                    ) from error
                peers.add(entry)
        return Rules(frozenset(peers), tuple(ranges))

    def names(self, peer_id: str, address: Address | None) -> bool:
        """Whether the peer or its address is on the list."""
        return peer_id in self.peers or (address is not None and self.covers(address))

    def covers(self, address: Address) -> bool:
        """Whether the address is in one of the ranges."""
        return any(address in each for each in self.ranges)


@dataclass(frozen=True, slots=True)
class Access:
    """`network.allow` and `network.deny`. A peer on both is denied.

    An allow list that is not empty admits nobody else.
    """

    allow: Rules
    deny: Rules

    @staticmethod
    def parse(allow: Sequence[str], deny: Sequence[str]) -> Access:
        """Parse both settings. Raises `ConfigError`."""
        return Access(Rules.parse("network.allow", allow), Rules.parse("network.deny", deny))

    def permits(self, peer_id: str, address: Address | None) -> bool:
        """Whether this node speaks to a peer met at an address (None on a network without them)."""
        if self.deny.names(peer_id, address):
            return False
        return not (self.allow.peers or self.allow.ranges) or self.allow.names(peer_id, address)

    def may_permit(self, address: Address) -> bool:
        """Whether a peer at an address may be permitted, before it has shown its peer id."""
        if self.deny.covers(address):
            return False
        return bool(self.allow.peers) or not self.allow.ranges or self.allow.covers(address)
