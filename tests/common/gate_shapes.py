"""An admission over a real store, with everything around it in the test's hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from swarm_shapes import RULES, Judge, Peer, StillClock

from protocols.reasons import Reason
from protocols.recipe import local_beacon
from swarm.clock import Clock
from swarm.config.schema import PoolSection
from swarm.errors import NetworkError
from swarm.pool.admission.admission import Admission, Admitted
from swarm.pool.pool import Pool

OWN = Peer(99)


class Gate:
    """An admission with a store, a judge whose calls are counted, and bodies that peers would serve."""

    def __init__(self, pool: Pool, clock: Any) -> None:
        self.pool = pool
        self.clock = clock
        self.judge = Judge()
        self.bodies: dict[bytes, bytes] = {}
        self.fetched: list[tuple[bytes, int, str, bytes]] = []
        self.admission = self.reopened()

    def reopened(self) -> Admission:
        return Admission(
            RULES, OWN.key, self.pool, self.judge, self.fetch, lambda epoch: local_beacon(RULES.id, epoch), self.clock
        )

    async def fetch(self, body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
        self.fetched.append((body_hash, size, forwarder, signer))
        if body_hash not in self.bodies:
            raise NetworkError("nobody has it")
        return self.bodies[body_hash]

    async def admit(self, data: bytes) -> Admitted:
        return await self.admission.admit(data, "forwarder")

    async def reasons(self, data: bytes) -> list[Reason]:
        return [refusal.reason for refusal in (await self.admit(data)).refusals]


@asynccontextmanager
async def gate_at(path: Path, clock: Clock | None = None) -> AsyncIterator[Gate]:
    clock = clock or StillClock()
    async with Pool(path / "pool.sqlite", PoolSection(), clock) as pool:
        yield Gate(pool, clock)
