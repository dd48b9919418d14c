"""The attacking peers of one run on its network, and the account of what they sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import open_envelope
from protocols.manifest import Manifest
from protocols.messages import Share, unpack_body
from protocols.peer_id import peer_id
from protocols.reasons import ProtocolError
from swarm.clock import Clock
from swarm.errors import ConfigError
from swarm.net.network import Network, Verdict
from swarm.sim.attacks import ATTACKS
from swarm.sim.attacks.attacker import Attacker
from swarm.sim.attacks.puzzles import Library


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """Which attack, by how many peers, with how many groups each for every round of the honest nodes."""

    name: str
    attackers: int
    groups: int = 2


class Attackers:
    """All attacking peers. They know each other, take the swarm's pace from what they hear, and stop when cancelled."""

    def __init__(self, plan: AttackPlan, manifest: Manifest, rendering: str, seed: int, clock: Clock) -> None:
        self.attack = ATTACKS[plan.name]
        if self.attack.needs_room and rendering == "compact":
            raise ConfigError(
                f"--attack {plan.name} needs text around the answer, which the rendering {rendering} has no room for; "
                "use --set swarm.manifest=scratch"
            )
        self.plan = plan
        self.sent: dict[bytes, int] = {}
        self._keys: set[bytes] = set()
        self._seed = seed
        self._clock = clock
        self._library = Library(manifest, rendering)

    @property
    def peer_ids(self) -> frozenset[str]:
        """Under which names the attackers have spoken."""
        return frozenset(peer_id(key) for key in self._keys)

    @property
    def keys(self) -> frozenset[bytes]:
        """The same as public keys."""
        return frozenset(self._keys)

    def key(self, number: int) -> Ed25519PrivateKey:
        """The key by which one attacker is on the network."""
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{self._seed}/attacker/{number}".encode()).digest())

    async def run(self, number: int, network: Callable[[], AbstractAsyncContextManager[Network]]) -> None:
        """One attacking peer's life."""
        random = Random(f"{self._seed}/attacker/{number}")
        attacker = Attacker(self.key(number), self._library, self._clock, random, self._keys)
        async with network() as place:
            async for message in place.messages:
                rounds = attacker.hear(message.data)
                if not rounds:
                    continue
                for data in self.attack.turn(attacker, rounds * self.plan.groups):
                    self._note(data)
                    await place.publish(data)
                attacker.turns += 1

    def _note(self, data: bytes) -> None:
        try:
            envelope = open_envelope(data, self._library.manifest.id)
            body = unpack_body(envelope.kind, envelope.body)
        except ProtocolError:  # an impersonator's
            groups = 0
        else:
            own = envelope.key in self._keys and isinstance(body, Share)
            groups = len(body.groups) if own and isinstance(body, Share) else 0
        self.sent[hashlib.sha256(data).digest()] = groups


def accept_everything(data: bytes) -> Verdict:
    """An attacker's validator: it forwards whatever it gets."""
    return Verdict.ACCEPT
