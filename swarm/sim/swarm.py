"""Runs N of the very nodes that `swarmd start` runs, in one trio loop, and measures what came of it.

On "libp2p" they talk over loopback in real time. On "memory" they talk over a seeded network on a virtual clock; then
everything that happens follows from the seed, down to the last weight.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from protocols.manifest import Manifest, topic
from swarm.clock import Clock, VirtualClock, WallClock
from swarm.config.schema import Config
from swarm.events import Event, RoundFinished
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.memory import Conditions, MemoryNetwork
from swarm.node.evaluation import HeldOut, accuracy, held_out_set
from swarm.node.learning import keep_learning
from swarm.node.node import Node
from swarm.node.opening import OpenNetwork, open_node
from swarm.tasks.scoring import Scorer

# Virtual time begins here, so that epochs and envelopes are the same in every run.
VIRTUAL_START_MS = 1_767_225_600_000
EVALUATION_TIMEOUT_S = 10.0
# How long the nodes may take to find each other before they begin, and to hear the last messages after they end.
MEETING_S = 20.0
DRAIN_S = 15.0
ENOUGH_PEERS = 4
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """What to run: one configuration per node, in one swarm, from one seed. `progress` hears every node's events."""

    manifest: Manifest
    configs: tuple[Config, ...]
    seed: int
    network: str
    evaluation_prompts: int
    directory: Path
    progress: Callable[[int, Event], None]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One node's run; accuracies are held-out, per environment, before and after."""

    peer_id: str
    rounds: tuple[RoundFinished, ...]
    before: Mapping[str, float]
    after: Mapping[str, float]
    shared: int
    delivered: int
    refused: Mapping[str, int]
    payload_bytes: int
    wire_bytes: int
    weights: bytes
    log: bytes


def run_swarm(plan: SwarmPlan) -> list[NodeResult]:
    """One result per node, in the order of the plan's configurations."""
    if plan.network == "memory":
        mock = MockClock()
        return trio.run(_run, plan, VirtualClock(mock, VIRTUAL_START_MS), clock=mock)
    return trio.run(_run, plan, WallClock())


async def _run(plan: SwarmPlan, clock: Clock) -> list[NodeResult]:
    swarm = _Swarm(plan, clock)
    async with Scorer(2, EVALUATION_TIMEOUT_S, clock) as scorer:
        swarm.problems = await held_out_set(scorer, plan.manifest, plan.evaluation_prompts)
        swarm.scorer = scorer
        async with trio.open_nursery() as nursery:
            # The first node is the one that the others join by.
            nursery.start_soon(swarm.run_node, 0)
            await swarm.first_address.wait()
            for index in range(1, len(plan.configs)):
                nursery.start_soon(swarm.run_node, index)
    return [swarm.results[index] for index in range(len(plan.configs))]


class _Swarm:
    """What the nodes of one run have in common."""

    def __init__(self, plan: SwarmPlan, clock: Clock) -> None:
        self.plan = plan
        self.clock = clock
        self.scorer: Scorer
        self.problems: Sequence[HeldOut] = ()
        self.results: dict[int, NodeResult] = {}
        self.first_address = trio.Event()
        self._bootstrap: tuple[str, ...] = ()
        self._nodes: dict[int, Node] = {}
        self._rounds: dict[int, list[RoundFinished]] = {index: [] for index in range(len(plan.configs))}
        self._memory = MemoryNetwork(plan.seed, Conditions())
        self._open = _Barrier(len(plan.configs))
        self._ended = _Barrier(len(plan.configs))
        self._measured = _Barrier(len(plan.configs))
        self._accuracies: dict[bytes, Mapping[str, float]] = {}
        self._one_at_a_time = trio.Lock()

    async def run_node(self, index: int) -> None:
        """One node's life: join, be measured, learn, hear the last messages, be measured again."""
        plan = self.plan
        key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{plan.seed}/{index}".encode()).digest())
        identity = Identity(key)
        config = self._config(index)
        home = Home(plan.directory / f"node-{index}").create()

        def listen(event: Event) -> None:
            if isinstance(event, RoundFinished):
                self._rounds[index].append(event)
            plan.progress(index, event)

        open_network = self._opener(home, identity, config)
        async with open_node(home, identity, config, plan.manifest, self.clock, open_network, [listen]) as node:
            self._nodes[index] = node
            if index == 0:
                assert node.network is not None  # noqa: S101 - open_node has just opened it
                self._bootstrap = node.network.addresses()
                self.first_address.set()
            before = await self._accuracy(node)
            await self._open.arrive()
            await _until(lambda: node.connected_peers >= min(len(plan.configs) - 1, ENOUGH_PEERS), MEETING_S)
            await keep_learning(node)
            await self._ended.arrive()
            await _until(lambda: node.admission.statistics().received >= self._shared_by_others(node), DRAIN_S)
            after = await self._accuracy(node)
            self.results[index] = await self._result(index, node, before, after)
            await self._measured.arrive()

    def _config(self, index: int) -> Config:
        config = self.plan.configs[index]
        network = replace(config.network, listen=(LOOPBACK,), announce=(), mdns=False)
        swarm = replace(config.swarm, bootstrap=self._bootstrap)
        node_seed = int.from_bytes(hashlib.sha256(f"{self.plan.seed}/{index}/node".encode()).digest()[:6]) + 1
        return replace(config, network=network, swarm=swarm, node=replace(config.node, seed=node_seed))

    def _opener(self, home: Home, identity: Identity, config: Config) -> OpenNetwork:
        name = topic(self.plan.manifest)
        if self.plan.network == "memory":
            return lambda validate: self._memory.join(
                identity.seed, topic=name, validate=validate, clock=self.clock, config=config.network
            )
        # Imported where it is used: a simulation in memory has no need of libp2p, which takes a second.
        from swarm.node.joining import libp2p_opener

        return libp2p_opener(home, identity, config, name, self.clock)

    async def _accuracy(self, node: Node) -> Mapping[str, float]:
        # Equal weights are measured once: all nodes begin with the same.
        async with self._one_at_a_time:
            digest = node.policy.tag.digest
            if digest not in self._accuracies:
                self._accuracies[digest] = await accuracy(
                    node.policy, self.scorer, self.problems, node.rendering, node.max_tokens
                )
            return self._accuracies[digest]

    def _shared_by_others(self, node: Node) -> int:
        return sum(other.totals["groups_shared"] for other in self._nodes.values() if other is not node)

    async def _result(self, index: int, node: Node, before: Mapping[str, float], after: Mapping[str, float]) -> NodeResult:
        assert node.network is not None  # noqa: S101 - the run would have failed before
        network, admission = node.network.statistics(), node.admission.statistics()
        log = await node.pool.run(lambda store: hashlib.sha256(b"".join(entry.id for entry in store.own_log())).digest())
        return NodeResult(
            peer_id=node.identity.peer_id,
            rounds=tuple(self._rounds[index]),
            before=before,
            after=after,
            shared=node.totals["groups_shared"],
            delivered=admission.received,
            refused=admission.refused,
            payload_bytes=network.payload_bytes_received,
            wire_bytes=network.wire_bytes_sent,
            weights=node.policy.tag.digest,
            log=log,
        )


async def _until(true: Callable[[], bool], seconds: float) -> None:
    with trio.move_on_after(seconds):
        while not true():  # noqa: ASYNC110 - a simulation looks at its nodes from outside, which send no events for this
            await trio.sleep(0.1)


class _Barrier:
    """Everybody waits until all have arrived."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._all_here = trio.Event()

    async def arrive(self) -> None:
        self._missing -= 1
        if self._missing <= 0:
            self._all_here.set()
        await self._all_here.wait()


def digest_of(results: Sequence[NodeResult]) -> str:
    """SHA-256 over every node's final weights and own log, in order."""
    whole = hashlib.sha256(b"swarmd sim digest\0")
    for result in results:
        whole.update(result.weights + result.log)
    return whole.hexdigest()
