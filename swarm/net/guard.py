"""The guard of a network: the operator's lists, each peer's score, and the peers cut off.

Both networks ask the same guard. A peer that is cut off is disconnected at once, and for
`CUT_OFF_S` neither heard nor dialled; it stays listed with the reason until then. Its quota is
remembered longer, so that coming back does not refill it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarm.clock import Clock
from swarm.config.schema import NetworkSection
from swarm.net.access import Access, Address, parse_address
from swarm.net.network import CutOff
from swarm.net.quota import CUT_AFTER_S, MAX_PEERS, Flow, PeerQuota, Quotas
from swarm.net.tally import Tally
from swarm.newest import Newest

CUT_OFF_S = 600.0  # for floods, invalid messages and lost standing
MAX_CUT_OFF = 256  # listed at once; beyond that the oldest is let go
NEUTRAL = 1.0
PAUSE_S = 0.05  # the shortest wait

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Term:
    """A cut-off with its end on trio's clock, which nobody sets back."""

    listed: CutOff
    until_s: float


class Guard:
    """The guard of one network, which sets `leave` to its way of disconnecting a peer."""

    def __init__(self, config: NetworkSection, tally: Tally, clock: Clock) -> None:
        self._access = Access.parse(config.allow, config.deny)
        self._tally = tally
        self._clock = clock
        self._terms: Newest[str, _Term] = Newest(MAX_CUT_OFF)
        self._standings: Newest[str, float] = Newest(MAX_PEERS)
        self.quotas = Quotas(config.peer_messages_per_s, config.peer_bytes_per_s)
        self.leave: Callable[[str], None] = lambda peer_id: None

    def quota(self, peer_id: str) -> PeerQuota:
        """Return a peer's buckets."""
        return self.quotas.of(peer_id)

    def refusal(self, peer_id: str, address: str = "") -> str | None:
        """Return why this node does not speak to a peer met at an IP address; None if it does."""
        if not self._access.permits(peer_id, parse_address(address)):
            return "not permitted by network.allow and network.deny"
        term = self._terms.get(peer_id)
        if term is not None and term.until_s > trio.current_time():
            return f"cut off: {term.listed.reason}"
        return None

    def may_permit(self, address: Address) -> bool:
        """Whether a peer at an address may be permitted, before it has shown its peer id."""
        return self._access.may_permit(address)

    def cut_off(self, peer_id: str, reason: str) -> None:
        """Disconnect a peer for `CUT_OFF_S`, and list it with the reason."""
        if self.refusal(peer_id) is not None:
            return
        now_ms = self._clock.now_ms()
        listed = CutOff(peer_id, self.quota(peer_id).address, reason, now_ms, now_ms + int(1000 * CUT_OFF_S))
        self._terms[peer_id] = _Term(listed, trio.current_time() + CUT_OFF_S)
        self._tally["cut_offs"] += 1
        logger.warning("cut off %s for %g s: %s", peer_id, CUT_OFF_S, reason)
        self.leave(peer_id)

    def listed(self) -> tuple[CutOff, ...]:
        """Return the peers cut off now, the latest first."""
        now = trio.current_time()
        return tuple(term.listed for term in reversed(self._terms.values()) if term.until_s > now)

    def judge(self, peer_id: str, standing: float, reason: str) -> None:
        """Set a peer's score: 0 cuts it off, less than 1 makes it a worse neighbour."""
        if standing <= 0:
            self.cut_off(peer_id, reason)
        self._standings[peer_id] = standing

    def standing(self, peer_id: str) -> float:
        """Return a peer's score as judged last; 1 for a peer never judged."""
        return self._standings.get(peer_id, NEUTRAL)

    def invalid(self, peer_id: str, what: str) -> None:
        """Count something that an honest peer does not send; too often cuts the peer off."""
        if not self.quota(peer_id).invalid.affords():
            self.cut_off(peer_id, f"invalid: {what}")

    def refused(self, peer_id: str, what: str) -> None:
        """Count a request or stream beyond a peer's limit; too often cuts the peer off."""
        if not self.quota(peer_id).refused.affords():
            self.cut_off(peer_id, f"too many {what}")

    async def pace(self, peer_id: str, flow: Flow, amount: float = 1.0) -> None:
        """Spend a peer's allowance, and wait while it is overdrawn before reading on.

        A peer that stays overdrawn for `CUT_AFTER_S` is cut off.
        """
        quota = self.quota(peer_id)
        bucket = quota.flows[flow]
        wait_s = bucket.take(amount)
        if bucket.excess_s() > CUT_AFTER_S:
            self.cut_off(peer_id, f"flood: too many {flow.value} for {CUT_AFTER_S:g} s")
        if quota.area is not None:
            wait_s = max(wait_s, quota.area.flows[flow].take(amount))
        # Shorter debts add up until they are worth a pause: else each small frame would cost one.
        if wait_s >= PAUSE_S:
            self._tally["throttled"] += 1
            await trio.sleep(wait_s)
