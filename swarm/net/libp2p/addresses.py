"""Multiaddrs: parsing them, and the ones under which others can dial a listening address."""

from __future__ import annotations

import ipaddress

import ifaddr
from multiaddr import Multiaddr
from multiaddr.exceptions import MultiaddrError

from swarm.errors import NetworkError


def parse(address: str) -> tuple[Multiaddr, str]:
    """Return the transport part and the peer id of "/ip4/…/tcp/…/p2p/12D3Koo…".

    Raises `NetworkError` for an address that cannot be dialled.
    """
    transport, marker, peer_id = address.rpartition("/p2p/")
    try:
        parsed = Multiaddr(transport)
        Multiaddr(f"/p2p/{peer_id}")
        names = [protocol.name for protocol in parsed.protocols()]
    except (MultiaddrError, ValueError, LookupError) as error:
        raise NetworkError(f"{address!r} is not a multiaddr: {error}") from error
    if not marker or names[-1:] != ["tcp"] or len(names) != 2 or names[0] not in ("ip4", "ip6", "dns", "dns4", "dns6"):
        raise NetworkError(f"{address!r} cannot be dialled; write it like /ip4/192.0.2.1/tcp/4711/p2p/12D3Koo…")
    family, host = _host(parsed)
    if family in ("ip4", "ip6") and ipaddress.ip_address(host).is_unspecified:
        raise NetworkError(f"{address!r} is good for listening only; name an address of the machine")
    return parsed, peer_id


def dialable(bound: Multiaddr) -> list[Multiaddr]:
    """Return the addresses under which a bound one can be reached.

    A wildcard stands for every interface of this machine.
    """
    family, host = _host(bound)
    if family not in ("ip4", "ip6") or not ipaddress.ip_address(host).is_unspecified:
        return [bound]
    port = bound.value_for_protocol("tcp")
    return [Multiaddr(f"/{family}/{ip}/tcp/{port}") for ip in _interfaces(family)]


def reached_as(listen: str) -> list[str]:
    """Return the addresses that a node listening here announces; empty if it is no multiaddr."""
    try:
        return [str(address) for address in dialable(Multiaddr(listen))]
    except (MultiaddrError, ValueError, LookupError, StopIteration):
        return []


def _interfaces(family: str) -> list[str]:
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if family == "ip4" and ip.is_IPv4:
                found.append(str(ip.ip))
            # A link-local IPv6 address is meaningless without the reader's own interface.
            elif family == "ip6" and ip.is_IPv6 and not ipaddress.ip_address(ip.ip[0]).is_link_local:
                found.append(str(ip.ip[0]))
    return sorted(found, key=lambda ip: ipaddress.ip_address(ip).is_loopback)


def is_loopback(address: str) -> bool:
    """Whether an address can be dialled only from the same machine."""
    family, host = _host(Multiaddr(address.rpartition("/p2p/")[0] or address))
    return family in ("ip4", "ip6") and ipaddress.ip_address(host).is_loopback


def ip_of(address: str) -> str:
    """Return the IP address in a multiaddr; "" if it names a host."""
    family, host = _host(Multiaddr(address.rpartition("/p2p/")[0] or address))
    return host if family in ("ip4", "ip6") else ""


def _host(address: Multiaddr) -> tuple[str, str]:
    family, host = next(iter(address.items()))
    return family.name, str(host)
