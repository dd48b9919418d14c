"""How simulated peers get on their network, and the count of the attackers' messages there."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.network import Network, OpenNetwork, Subscription, Verdict
from swarm.net.simulated import Conditions, MemoryNetwork
from swarm.sim.attacks.attacking_peer import Attackers
from swarm.sim.options import SimulationOptions


@dataclass(frozen=True, slots=True)
class AttackRecord:
    """The attackers' names, the groups they sent, and how their messages fared at honest nodes.

    `delivered` counts the groups that arrived there, and `turned_away` the messages that the
    validator refused; both are summed over receivers.
    """

    peer_ids: frozenset[str]
    sent: int
    delivered: int
    turned_away: int


class Networks:
    """Loopback libp2p, or one simulated network for all; `attackers` is None in a peaceful run."""

    def __init__(self, options: SimulationOptions, clock: Clock, attackers: Attackers | None) -> None:
        self.memory = MemoryNetwork(options.seed, Conditions(loss=options.loss))
        self._in_memory = options.network == "memory"
        self._clock = clock
        self._attackers = attackers
        self._arrived: Counter[bytes] = Counter()
        self._turned_away = 0

    def opener(self, home: Home, identity: Identity, config: Config) -> OpenNetwork:
        """Return a peer's way to open its network."""
        if self._in_memory:
            return lambda subscription: self.memory.join(identity.seed, subscription, clock=self._clock, config=config.network)
        # Imported where it is used: a simulation in memory has no need of libp2p, which takes a
        # second.
        from swarm.node.joining import network_opener

        return network_opener(home, identity, config, self._clock)

    def watched_opener(self, home: Home, identity: Identity, config: Config) -> OpenNetwork:
        """Return an honest node's way, on which the attackers' messages are counted."""
        join, attackers = self.opener(home, identity, config), self._attackers
        if attackers is None:
            return join

        def watched(subscription: Subscription[Any]) -> AbstractAsyncContextManager[Network]:
            def judge(data: bytes) -> Any:
                opened = subscription.validate(data)
                message = hashlib.sha256(data).digest()
                if message in attackers.sent:
                    self._arrived[message] += 1
                    self._turned_away += isinstance(opened, Verdict)
                return opened

            return join(replace(subscription, validate=judge))

        return watched

    def record(self) -> AttackRecord | None:
        """Return what the attackers did so far; None in a peaceful run."""
        if self._attackers is None:
            return None
        sent = self._attackers.sent
        return AttackRecord(
            peer_ids=self._attackers.peer_ids,
            sent=sum(sent.values()),
            delivered=sum(sent[message] * count for message, count in self._arrived.items()),
            turned_away=self._turned_away,
        )
