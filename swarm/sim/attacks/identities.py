"""Attacks on identity: an honest peer's name on an attacker's words, and ever new names."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import open_envelope, seal, share_in
from swarm.sim.attacks.attack import Attack, vertical
from swarm.sim.attacks.attacker import Attacker
from swarm.sim.attacks.injected import PHRASE, text

# Shares under one name before the next one is taken.
SHARES_PER_NAME = 3


def impersonate(attacker: Attacker, count: int) -> list[bytes]:
    """Send in turn an honest peer's key on an own envelope, its tasks, and its envelope."""
    if not attacker.messages:
        return []
    swarm, now_ms = attacker.library.manifest.id, attacker.clock.now_ms()
    heard = attacker.random.choice(attacker.messages)
    victim = open_envelope(heard, swarm)
    share = share_in(victim)
    assert share is not None  # noqa: S101 - only shares are remembered
    match attacker.turns % 3:
        case 0:
            forged = seal(attacker.log.private_key, victim.sequence + 1, victim.id, now_ms, share, swarm)
            return [replace(forged, key=victim.key).to_bytes()]
        case 1:
            return [attacker.log.carry(share, now_ms).to_bytes()]
        case _:
            return [heard]


def sybil(attacker: Attacker, count: int) -> list[bytes]:
    """The injected phrase under a new name every few shares; a name costs nothing but a key."""
    if attacker.log.shares >= SHARES_PER_NAME:
        attacker.become(Ed25519PrivateKey.from_private_bytes(attacker.random.randbytes(32)))
    return vertical(text)(attacker, count)


ATTACKS = {
    "impersonate": Attack("messages in an honest peer's name", impersonate),
    "sybil": Attack("a fixed phrase under ever new names", sybil, lambda text, _: PHRASE in text, True),
}
