"""The attacking peers of one run on its network, and the account of what they sent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import open_envelope, share_in
from protocols.manifest import Manifest, topic
from protocols.peer_id import peer_id
from protocols.reasons import ProtocolError
from swarm.clock import Clock
from swarm.errors import ConfigError
from swarm.net.network import Message, Network, Subscription
from swarm.sim.attacks import ATTACKS
from swarm.sim.attacks.attacker import Attacker
from swarm.sim.attacks.puzzles import Library


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """Which attack, by how many peers, with how many groups each per round of the honest nodes;
    None is the attack's own number."""

    name: str
    attackers: int
    groups: int | None = None


class Attackers:
    """All attacking peers. They know each other, keep the swarm's pace, and stop when cancelled."""

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

    def key(self, number: int) -> Ed25519PrivateKey:
        """The key by which one attacker is on the network."""
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{self._seed}/attacker/{number}".encode()).digest())

    async def run(self, number: int, join: Callable[[Subscription[bytes]], AbstractAsyncContextManager[Network]]) -> None:
        """Live as one attacking peer, which forwards whatever it gets, until cancelled."""
        random = Random(f"{self._seed}/attacker/{number}")
        attacker = Attacker(self.key(number), self._library, self._clock, random, self._keys)
        send, heard = trio.open_memory_channel[bytes](math.inf)

        def take(message: Message[bytes]) -> int:
            send.send_nowait(message.opened)
            return 0

        async with join(Subscription(topic(self._library.manifest), lambda data: data, take)) as place:
            async for data in heard:
                rounds = attacker.hear(data)
                if not rounds:
                    continue
                for message in self.attack.turn(attacker, rounds * (self.plan.groups or self.attack.groups)):
                    self._note(message)
                    await place.publish(message)
                attacker.turns += 1

    def _note(self, data: bytes) -> None:
        try:
            envelope = open_envelope(data, self._library.manifest.id)
            share = share_in(envelope) if envelope.key in self._keys else None
        except ProtocolError:  # an impersonator's
            share = None
        self.sent[hashlib.sha256(data).digest()] = len(share.groups) if share else 0
