"""The settings of the swarm that the node is in, and of its connections with peers."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.config.setting import Allowed, setting


@dataclass(frozen=True, slots=True)
class SwarmSection:
    """Which swarm the node is in."""

    manifest: str = setting(
        "embedded",
        "Rules of the swarm: a manifest file's path, a built-in name (embedded, reasoning, scratch, words, code), or a swarm id. A swarm id is 64 hex digits; a bootstrap peer then sends the manifest.",
        owner=True,
    )
    bootstrap: tuple[str, ...] = setting(
        (),
        "Peers to join by: multiaddrs that end in /p2p/ and a peer id. Empty founds a swarm of one, which others can join.",
        owner=True,
    )
    beacon_urls: tuple[str, ...] = setting(
        ("https://api.drand.sh", "https://api2.drand.sh", "https://api3.drand.sh", "https://drand.cloudflare.com"),
        "Web addresses of drand servers, for swarms whose manifest says drand; one small request per epoch. Empty takes the signed rounds from peers only.",
    )


@dataclass(frozen=True, slots=True)
class NetworkSection:
    """How the node talks to peers."""

    listen: tuple[str, ...] = setting(
        ("/ip4/0.0.0.0/tcp/4711",), "Multiaddrs to listen on. Port 0 takes a free port, another at every start.", owner=True
    )
    announce: tuple[str, ...] = setting(
        (), "Multiaddrs to tell peers, for a node behind a forwarded port. Empty tells the ones listened on.", owner=True
    )
    mdns: bool = setting(
        True, "Find peers of the same swarm on the local network by multicast. Off hides the node from its neighbours."
    )
    max_connections: int = setting(
        64, "Connections held at once. More reach the swarm in fewer hops, and cost memory and CPU.", Allowed(minimum=1)
    )
    request_timeout_s: float = setting(
        10.0, "Seconds to wait for a peer's answer to a request or dial before giving up.", Allowed(above=0)
    )
    allow: tuple[str, ...] = setting(
        (), "Peer ids and address ranges (192.0.2.0/24) to speak to, and to nobody else. Empty allows everybody."
    )
    deny: tuple[str, ...] = setting(
        (), "Peer ids and address ranges to refuse in both directions, even if allowed. Changes hold from the next start."
    )
    peer_messages_per_s: float = setting(
        100.0,
        "New messages per second read from any one peer, five times as many at once. A fifth of the rate is forwarded; a peer that keeps exceeding it is cut off.",
        Allowed(above=0),
    )
    peer_bytes_per_s: float = setting(
        4.0 * 2**20,
        "Bytes per second read from any one peer, 15 seconds' worth at once; half of them may be gossip. Lower saves bandwidth and slows large bodies down.",
        Allowed(above=0),
    )
    max_bytes_per_s: float = setting(
        0.0,
        "Bytes per second over all connections together, in each direction; 0 sets no limit. Below about 50 kB/s a large swarm's rollouts come late or not at all.",
        Allowed(minimum=0),
        owner=True,
    )
