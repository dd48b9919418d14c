"""Nodes that only keep logs, without policy and verifiers, on an in-memory network and a virtual clock."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from swarm_shapes import RULES, Judge, Peer

from protocols.manifest import epoch_of, topic
from protocols.messages import Share
from protocols.recipe import local_beacon
from swarm.beacon.beacon import LocalBeacon
from swarm.clock import Clock
from swarm.config.schema import Config, PoolSection
from swarm.exchange import own_log as publishing
from swarm.exchange.log_sync import LogSync
from swarm.exchange.own_log import OwnLog, position, publish_proofs
from swarm.exchange.receiving import Bodies, receive, serve, verdict
from swarm.exchange.recovery import doubt_at_start, keep_own_log
from swarm.identity import Identity
from swarm.net.simulated import MemoryNetwork
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.store.logs import begin
from swarm.pool.store.proofs import equivocators
from swarm.records import ScoredGroup


class Learning:
    """Stands for what learns from the groups that are admitted, which these nodes do not."""

    def hear(self, groups: Iterable[ScoredGroup]) -> None:
        """As `Curriculum.hear`."""

    def arrived(self, count: int) -> None:
        """As `Freshness.arrived`."""


@dataclass
class Indices:
    """Stands for the proposer: which indices are used."""

    epoch: int
    next_index: int
    curriculum: Learning = field(default_factory=Learning)

    def resume(self, epoch: int, next_index: int) -> None:
        self.epoch, self.next_index = epoch, next_index


@dataclass
class LogNode:
    """What the parts that keep logs ask of a node."""

    identity: Identity
    pool: Pool
    admission: Admission
    log: OwnLog
    proposer: Indices
    clock: Clock
    seed: int
    manifest: Any = RULES
    config: Config = field(default_factory=Config)
    emitted: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sync = LogSync(self)  # type: ignore[arg-type]
        self.network: Any = None
        self.beacon = LocalBeacon(self.manifest)
        self.freshness = Learning()

    def emit(self, event: Any) -> None:
        self.emitted.append(event)

    async def share(self, *texts: str, count: int = 1, announce: bool = False) -> bool:
        """Publish the next share, of one group; whether the log was open."""
        async with self.log.one:
            if self.log.silent:
                return False
            now_ms = self.clock.now_ms()
            epoch = epoch_of(self.manifest, now_ms)
            if epoch != self.proposer.epoch:
                self.proposer.resume(epoch, 0)
            first = self.proposer.next_index
            peer = Peer(self.seed)
            share = peer.share(peer.group(first, *texts, epoch=epoch), epoch=epoch, first_index=first, count=count)
            data = await self._append(share, now_ms, announce)
            self.proposer.next_index += count
        await self.network.publish(data)
        return True

    async def _append(self, share: Share, now_ms: int, announce: bool) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            if announce:
                patch.setattr(publishing, "MAX_INLINE_BODY_BYTES", 10)
            return await self.log.append(share, [], now_ms)

    async def held(self) -> dict[bytes, list[int]]:
        """Sequence numbers held per signer, the own log included."""
        rows = await self.pool.run(lambda store: store.rows("SELECT signer, sequence FROM envelopes ORDER BY signer, sequence"))
        return {key: [row[1] for row in group] for key, group in itertools.groupby(rows, key=lambda row: row[0])}

    async def refused(self) -> dict[str, int]:
        return await self.pool.run(lambda store: store.refusals())


@dataclass
class LogMedium:
    """Where the nodes of one test live."""

    path: Path
    clock: Clock
    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(1))

    @asynccontextmanager
    async def node(
        self, number: int, *, new: bool = True, sync: bool = True, bounds: PoolSection | None = None
    ) -> AsyncIterator[LogNode]:
        """Node `number` (from 1 on) with its pool, which it finds again; `new` notes that its log begins there."""
        path = self.path / f"{number}.sqlite"
        identity = Identity(Peer(number).private_key)
        if new and not path.exists():
            begin(path, identity.public_key)
        judge, bodies = Judge(), Bodies()
        async with Pool(path, bounds or PoolSection(), self.clock) as pool:
            end = await pool.run(lambda store: position(store, RULES))
            admission = Admission(
                RULES, identity.public_key, pool, judge, bodies.fetch, lambda epoch: local_beacon(RULES.id, epoch), self.clock
            )
            admission.standing.convict(await pool.run(equivocators))
            log = OwnLog(identity, RULES.id, pool, end)
            node = LogNode(identity, pool, admission, log, Indices(end.epoch, end.next_index), self.clock, number)
            await doubt_at_start(node)  # type: ignore[arg-type]
            async with self.network.join(
                identity.seed, topic=topic(RULES), validate=lambda data: verdict(admission, data), clock=self.clock
            ) as network:
                node.network = bodies.network = network
                serve(node, network)  # type: ignore[arg-type]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(receive, node, network)
                    nursery.start_soon(keep_own_log, node, network)
                    nursery.start_soon(publish_proofs, node, network)
                    if sync:
                        nursery.start_soon(node.sync.run, network)
                    yield node
                    nursery.cancel_scope.cancel()


async def complete(nodes: list[LogNode], seconds: float) -> bool:
    """Whether, within `seconds`, every node holds every log as its signer does."""
    with trio.move_on_after(seconds):
        while True:
            logs = [await node.held() for node in nodes]
            if all(one == logs[0] for one in logs):
                return True
            await trio.sleep(1)
    return False
