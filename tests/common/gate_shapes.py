"""An admission over a real store, with everything around it in the test's hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from swarm_shapes import RULES, Judge, Peer, StillClock, context_of

from protocols.reasons import ProtocolError, Reason
from protocols.recipe import local_beacon
from swarm.clock import Clock
from swarm.config.schema import PoolSection
from swarm.errors import NetworkError
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.opened import open_message
from swarm.pool.admission.refusal import Admitted
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores

OWN = Peer(99)


async def admit_bytes(admission: Admission, data: bytes, peer: str = "forwarder", swarm: bytes = RULES.id) -> Admitted:
    """What comes of bytes that nobody has looked at yet."""
    try:
        opened = open_message(data, swarm)
    except ProtocolError as error:
        return await admission.unread(data, error.reason)
    return await admission.admit(opened, peer)


class Gate:
    """An admission with a store, a judge whose calls are counted, and bodies that peers would
    serve."""

    def __init__(self, pool: Pool, clock: Any) -> None:
        self.pool = pool
        self.clock = clock
        self.judge = Judge()
        self.bodies: dict[bytes, bytes] = {}
        self.fetched: list[tuple[bytes, int, str, bytes]] = []
        self.admission = self.reopened()

    def reopened(self) -> Admission:
        context = context_of(OWN.private_key, self.clock)
        return Admission(context, self.pool, PeerScores(), self.judge, self.fetch, lambda epoch: local_beacon(RULES.id, epoch))

    async def fetch(self, body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
        self.fetched.append((body_hash, size, forwarder, signer))
        if body_hash not in self.bodies:
            raise NetworkError("nobody has it")
        return self.bodies[body_hash]

    async def admit(self, data: bytes) -> Admitted:
        return await admit_bytes(self.admission, data)

    async def reasons(self, data: bytes) -> list[Reason]:
        return [refusal.reason for refusal in (await self.admit(data)).refusals]


@asynccontextmanager
async def gate_at(path: Path, clock: Clock | None = None) -> AsyncIterator[Gate]:
    clock = clock or StillClock()
    async with Pool(path / "pool.sqlite", PoolSection(), clock) as pool:
        yield Gate(pool, clock)
