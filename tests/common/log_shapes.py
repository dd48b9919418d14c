"""Nodes that only keep logs, without policy and verifiers, in memory and on a virtual clock."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
from swarm_shapes import RULES, Judge, Peer, context_of

from protocols.envelope import open_envelope
from protocols.manifest import epoch_of
from protocols.reasons import Reason
from swarm.beacon.beacon import LocalBeacon
from swarm.clock import Clock
from swarm.config.schema import Config, NodeSection, PoolSection, SwarmSection
from swarm.context import Context
from swarm.exchange import own_log
from swarm.exchange.answering import answer_requests
from swarm.exchange.equivocation import publish_proofs
from swarm.exchange.log_sync import LogSync
from swarm.exchange.own_log import OwnLog, open_log
from swarm.exchange.receiving import Receiver
from swarm.exchange.recovery import Recovery, doubt_at_start
from swarm.exchange.uplink import Uplink
from swarm.identity import Identity
from swarm.net.simulated import MemoryNetwork
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store.log_table import begin
from swarm.pool.store.proof_table import equivocators


@dataclass
class LogNode:
    """An exchange's parts, and nobody who learns from it."""

    context: Context
    pool: Pool
    admission: Admission
    log: OwnLog
    uplink: Uplink
    emitted: list[Any]

    def __post_init__(self) -> None:
        self.beacon = LocalBeacon(RULES)
        self.recovery = Recovery(self.context, self.pool, self.log)
        self.sync = LogSync(self.context, self.pool, self.admission)
        self.receiver = Receiver(self.context, self.pool, self.admission, self.beacon, self.log, lambda groups: None)

    @property
    def network(self) -> Any:
        return self.uplink.network

    async def admit(self, data: bytes, peer: str = "somebody") -> list[Reason]:
        """The reasons for which bytes that `peer` brought, or groups in them, are refused."""
        return list(await self.receiver.admit_entry(open_envelope(data, RULES.id), data, peer))

    async def share(self, *texts: str, count: int = 1, announce: bool = False) -> bool:
        """Publish the next share, of one group; whether the log was open."""
        async with self.log.one:
            if self.log.silent:
                return False
            indices = self.log.indices
            epoch = epoch_of(RULES, self.context.now_ms())
            indices.begin(epoch)
            first = indices.take(count).start
            peer = Peer(self.context.seed)
            share = peer.share(peer.group(first, *texts, epoch=epoch), epoch=epoch, first_index=first, count=count)
            with pytest.MonkeyPatch.context() as patch:
                if announce:
                    patch.setattr(own_log, "MAX_INLINE_BODY_BYTES", 10)
                data = await self.log.append(share, [])
        await self.network.publish(data)
        return True

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
        self,
        number: int,
        *,
        new: bool = True,
        sync: bool = True,
        bounds: PoolSection | None = None,
        bootstrap: tuple[str, ...] = (),
    ) -> AsyncIterator[LogNode]:
        """Node `number` (from 1 on) with its pool, which it finds again; `new` notes that its log
        begins there."""
        path = self.path / f"{number}.sqlite"
        identity = Identity(Peer(number).private_key)
        if new and not path.exists():
            begin(path, identity.public_key)
        config = Config(node=NodeSection(seed=number), pool=bounds or PoolSection(), swarm=SwarmSection(bootstrap=bootstrap))
        emitted: list[Any] = []
        context = context_of(identity.private_key, self.clock, config=config, listeners=[emitted.append])
        async with Pool(path, config.pool, self.clock) as pool:
            standing, uplink = PeerScores(), Uplink()
            standing.convict(await pool.run(equivocators))
            beacon = LocalBeacon(RULES)
            admission = Admission(context, pool, standing, Judge(), uplink.fetch_body, beacon.value)
            log = await open_log(context, pool)
            node = LogNode(context, pool, admission, log, uplink, emitted)
            await doubt_at_start(context, pool, log)
            async with self.network.join(identity.seed, node.receiver.subscription, clock=self.clock) as network:
                uplink.network = network
                answer_requests(network, RULES, pool)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(node.receiver.run)
                    nursery.start_soon(node.recovery.run, network)
                    nursery.start_soon(publish_proofs, context, pool, log, network)
                    if sync:
                        nursery.start_soon(node.sync.run, network, node.receiver)
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
