"""Quotas: token buckets for the messages, bytes, frames and requests of each peer.

Going over a bucket only slows a peer down: it is read no faster, and the rest waits at its own end.
A burst is ordinary, since everybody's round ends at once. A long excess is not: honest nodes
forward less than they accept (`FORWARDED_SHARE`), so a flood makes no flooders of its receivers. A
peer that overdraws a bucket for `CUT_AFTER_S` without a pause does it on purpose.

Identities cost nothing, so a fresh one must not come with a fresh allowance. Peers of one public
subnet also share the allowance of one peer. They wait for each other, but nobody is cut off for a
neighbour's flood. Peers on this machine or its local network share no allowance.
"""

from __future__ import annotations

from enum import Enum

from swarm.fair import Bucket
from swarm.net.access import is_local, parse_address, subnet
from swarm.newest import Newest

BURST_S = 5.0  # seconds' worth of messages that may come at once
BYTES_BURST_S = 16.0  # and of bytes: a large body is fetched at full speed
CUT_AFTER_S = 5.0
REPEAT_COST = 0.25  # a duplicate is read and hashed, but neither checked nor forwarded
# Forwarded per message accepted per second and peer: from one peer, and from all peers together.
# The second stays below 1, and its burst below a receiver's.
FORWARDED_SHARE, ALL_FORWARDED_SHARE = 0.2, 0.8
FORWARD_BURST_S = 2.0
# Reads of less than `SMALL_BYTES`, some 50 us each: two or four to a frame of Yamux over Noise.
# Large ones are bounded by their bytes; answers to this node's own requests consist of them.
READS_PER_S, READS_BURST, SMALL_BYTES = 1000.0, 5000.0, 1024
INVALID_ALLOWED = 20.0  # invalid messages; one can slip through by a version's mistake
INVALID_FORGIVEN_S = 60.0  # one is forgotten after this time
REQUESTS_PER_S, REQUESTS_BURST = 20.0, 200.0
REFUSED_ALLOWED, REFUSED_FORGIVEN_S = 200.0, 1.0  # requests and streams beyond their limits
MAX_PEERS = 1024  # peers whose buckets are remembered, so that reconnecting does not refill them


class Flow(Enum):
    """The rates at which a peer is read; exceeding one without a pause cuts it off.

    The value names the rate in messages.
    """

    MESSAGES = "messages"
    GOSSIP = "bytes of gossip"
    FRAMES = "frames"


class PeerQuota:
    """The buckets of one peer or one subnet.

    `address` is the peer's last IP address ("" if unknown), `area` its subnet's quota or None.
    """

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        self.address = ""
        self.area: PeerQuota | None = None
        self.flows = {
            Flow.MESSAGES: Bucket(messages_per_s, messages_per_s * BURST_S),
            # Gossip is at most half of all bytes, which tells a flood from a requested answer.
            Flow.GOSSIP: Bucket(bytes_per_s / 2, bytes_per_s / 2 * BYTES_BURST_S),
            Flow.FRAMES: Bucket(READS_PER_S, READS_BURST),
        }
        self.wire_bytes = Bucket(bytes_per_s, bytes_per_s * BYTES_BURST_S)
        self.forwarded = Bucket(messages_per_s * FORWARDED_SHARE, messages_per_s * FORWARD_BURST_S)
        self.forwarded_bytes = Bucket(bytes_per_s / 2 * FORWARDED_SHARE, bytes_per_s / 2 * BYTES_BURST_S / 2)
        self.invalid = Bucket(1 / INVALID_FORGIVEN_S, INVALID_ALLOWED - 1)
        self.requests = Bucket(REQUESTS_PER_S, REQUESTS_BURST)
        self.answer_bytes = Bucket(bytes_per_s, bytes_per_s * BYTES_BURST_S)
        self.refused = Bucket(1 / REFUSED_FORGIVEN_S, REFUSED_ALLOWED)


class Quotas:
    """The buckets of the `MAX_PEERS` peers, and subnets, met last."""

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        self._rates = messages_per_s, bytes_per_s
        self._peers: Newest[str, PeerQuota] = Newest(MAX_PEERS)
        self._areas: Newest[str, PeerQuota] = Newest(MAX_PEERS)
        self.all_forwarded = Bucket(messages_per_s * ALL_FORWARDED_SHARE, messages_per_s * FORWARD_BURST_S)

    def of(self, peer_id: str) -> PeerQuota:
        """Return a peer's buckets, full ones if it was never met or is forgotten."""
        return self._peers.obtain(peer_id, self._full)

    def met(self, peer_id: str, address: str) -> None:
        """Note that a peer has connected from an IP address."""
        quota, ip = self.of(peer_id), parse_address(address)
        quota.address = address
        quota.area = None if ip is None or is_local(ip) else self._areas.obtain(str(subnet(ip)), self._full)

    def _full(self) -> PeerQuota:
        return PeerQuota(*self._rates)

    def may_forward(self, peer_id: str, size: int) -> bool:
        """Whether forwarding fits the budgets of the peer, of its subnet and of this node.

        Spends them.
        """
        quota = self.of(peer_id)
        sources = [quota] if quota.area is None else [quota, quota.area]
        enough = all(each.forwarded.affords() and each.forwarded_bytes.affords(size) for each in sources)
        return enough and self.all_forwarded.affords()
