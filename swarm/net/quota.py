"""How much one peer may send: token buckets, and what they say of a peer that never lets up.

Going over a bucket only slows a peer down: it is read no faster, and what it sends waits at its own end. A burst is ordinary
(everybody's round ends at once), a long excess is not: honest nodes forward less than they accept (`FORWARDED_SHARE`), so that
nobody is made a flooder by being flooded, and who fills a bucket for `CUT_AFTER_S` without a pause does it on purpose.

Identities cost nothing, so a fresh one must not come with a fresh allowance: peers of one public neighbourhood also share the
allowance of one. They wait for each other by it, but nobody is cut off for what its neighbours did. Peers on this machine
or its local network have no such neighbourhood.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from swarm.fair import Bucket
from swarm.net.access import is_local, parse_address, subnet

BURST_S = 5.0  # seconds' worth of messages that may come at once
BYTES_BURST_S = 16.0  # and of bytes: a large body is fetched at full speed
CUT_AFTER_S = 5.0
REPEAT_COST = 0.25  # a message that is there already costs no signature check and no forwarding, but is read and hashed
# Of the messages accepted per second and peer, how many are forwarded of one peer's, and of everybody's together: the second
# stays below 1, and its burst below a receiver's.
FORWARDED_SHARE, ALL_FORWARDED_SHARE = 0.2, 0.8
FORWARD_BURST_S = 2.0
# Frames of less than `SMALL_BYTES` and headers, some 50 us each: two or four to a frame of Yamux over Noise. Large frames are
# bounded by their bytes, and are what an answer that this node asked for consists of.
READS_PER_S, READS_BURST, SMALL_BYTES = 1000.0, 5000.0, 1024
INVALID_ALLOWED = 20.0  # invalid messages; one can slip through by a version's mistake
INVALID_FORGIVEN_S = 60.0  # after so long one is forgotten
REQUESTS_PER_S, REQUESTS_BURST = 20.0, 200.0
REFUSED_ALLOWED, REFUSED_FORGIVEN_S = 200.0, 1.0  # requests and streams beyond what may wait
MAX_PEERS = 1024  # peers whose buckets are remembered, so that reconnecting does not refill them


class Flow(Enum):
    """What a peer is read by, and cut off for where it never lets up; the value is what a flood of it is called."""

    MESSAGES = "messages"
    GOSSIP = "bytes of gossip"
    FRAMES = "frames"


class PeerQuota:
    """One peer's buckets, or one neighbourhood's. `address` is where the peer was met last, `area` its neighbourhood."""

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        self.address = ""
        self.area: PeerQuota | None = None
        self.flows = {
            Flow.MESSAGES: Bucket(messages_per_s, messages_per_s * BURST_S),
            # Gossip is half of all bytes at most, so that a flood of it is told from an answer that this node asked for.
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
    """The buckets of the peers and neighbourhoods met last."""

    def __init__(self, messages_per_s: float, bytes_per_s: float) -> None:
        self._rates = messages_per_s, bytes_per_s
        self._peers: OrderedDict[str, PeerQuota] = OrderedDict()
        self._areas: OrderedDict[str, PeerQuota] = OrderedDict()
        self.all_forwarded = Bucket(messages_per_s * ALL_FORWARDED_SHARE, messages_per_s * FORWARD_BURST_S)

    def of(self, peer_id: str) -> PeerQuota:
        """A peer's buckets, full ones if it was never met or is forgotten."""
        return self._in(self._peers, peer_id)

    def met(self, peer_id: str, address: str) -> None:
        """A peer has connected from an IP address."""
        quota, ip = self.of(peer_id), parse_address(address)
        quota.address = address
        quota.area = None if ip is None or is_local(ip) else self._in(self._areas, str(subnet(ip)))

    def _in(self, quotas: OrderedDict[str, PeerQuota], name: str) -> PeerQuota:
        quota = quotas.get(name)
        if quota is None:
            quota = quotas[name] = PeerQuota(*self._rates)
            if len(quotas) > MAX_PEERS:
                quotas.popitem(last=False)
        quotas.move_to_end(name)
        return quota

    def may_forward(self, peer_id: str, size: int) -> bool:
        """Whether a peer's message is within what is passed on of one peer's, of its neighbourhood's, and of everybody's."""
        quota = self.of(peer_id)
        sources = [quota] if quota.area is None else [quota, quota.area]
        enough = all(each.forwarded.affords() and each.forwarded_bytes.affords(size) for each in sources)
        return enough and self.all_forwarded.affords()
