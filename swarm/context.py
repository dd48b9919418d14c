"""The constants of a running node, which every part may know."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import SystemRandom

from protocols.manifest import Manifest
from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.events import Event, Listener
from swarm.home import Home
from swarm.identity import Identity


@dataclass(frozen=True, slots=True)
class Context:
    """One node's home, identity, settings, manifest, clock and listeners.

    `seed` seeds its random choices: `node.seed`, or a drawn one (53 bits) where that is 0.
    """

    home: Home
    identity: Identity
    config: Config
    manifest: Manifest
    clock: Clock
    listeners: tuple[Listener, ...] = ()
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        """Set the seed."""
        object.__setattr__(self, "seed", self.config.node.seed or SystemRandom().getrandbits(53))

    @property
    def key(self) -> bytes:
        """The node's public key (32 bytes)."""
        return self.identity.public_key

    def now_ms(self) -> int:
        """Return the node's time, ms since 1970."""
        return self.clock.now_ms()

    def emit(self, event: Event) -> None:
        """Hand an event to every listener, in order."""
        for listener in self.listeners:
            listener(event)
