"""Puts a node together: opens its parts in the order they need each other, and keeps the two background ones running."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio

from protocols.manifest import Manifest
from swarm.beacon.beacon import Beacon, DrandBeacon, LocalBeacon
from swarm.beacon.sources import BEACON_PROTOCOL, REQUEST_BYTES
from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.errors import ChildFailed, ConfigError
from swarm.events import Listener, NodeStarted, NodeStopped
from swarm.exchange.judging import judge_peers
from swarm.exchange.own_log import OwnLog, position, publish_proofs
from swarm.exchange.receiving import Bodies, receive, serve, verdict
from swarm.exchange.recovery import doubt_at_start, keep_own_log
from swarm.home import Home
from swarm.identity import Identity
from swarm.learner.regression_guard import RegressionGuard
from swarm.net.network import Network, Validate
from swarm.node.node import Node, Parts, rendering_of
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.store import proofs, standings
from swarm.roles.examples import gather_examples
from swarm.roles.proposer import Proposer, chosen_rules
from swarm.supervisor import supervise
from swarm.tasks.scoring import Scorer

OpenNetwork = Callable[[Validate], AbstractAsyncContextManager[Network]]


@asynccontextmanager
async def open_node(
    home: Home,
    identity: Identity,
    config: Config,
    manifest: Manifest,
    clock: Clock,
    open_network: OpenNetwork,
    listeners: Sequence[Listener] = (),
) -> AsyncIterator[Node]:
    """A node on the network, not learning yet (`swarm.learner.loop`). Raises the error of any part that cannot be opened."""
    _check_rules(manifest, config)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(home.pool, config.pool, clock))
        await pool.run(lambda store: store.belong_to(manifest.id))
        end = await pool.run(lambda store: position(store, manifest))
        async with clock.work(0):
            newest = await trio.to_thread.run_sync(checkpoint.newest, home.checkpoints)
        scorer = await stack.enter_async_context(Scorer(config.scoring.workers, config.scoring.timeout_s, clock))
        await _check_environments(manifest, config, scorer)
        policy = await stack.enter_async_context(
            Policy(config.policy, config.generation, config.training, clock, checkpoint=newest, handover=home.handover)
        )

        key, tasks = identity.public_key, config.tasks
        bodies = Bodies()
        drand = DrandBeacon(manifest, config.swarm.beacon_urls, pool, clock, lambda: bodies.network) if manifest.drand else None
        beacon: Beacon = drand or LocalBeacon(manifest)
        admission = Admission(
            manifest, key, pool, scorer.score, bodies.fetch, beacon.value, clock,
            defences=config.defences, bounds=config.pool, workers=config.scoring.workers,
        )  # fmt: skip
        admission.standing.restore(await pool.run(standings.load))
        admission.standing.convict(await pool.run(proofs.equivocators))
        node = Node(
            Parts(
                home=home,
                identity=identity,
                config=config,
                manifest=manifest,
                clock=clock,
                pool=pool,
                scorer=scorer,
                policy=policy,
                proposer=Proposer(manifest, key, scorer, beacon.value, clock, tasks, epoch=end.epoch, next_index=end.next_index),
                admission=admission,
                beacon=beacon,
                log=OwnLog(identity, manifest.id, pool, end),
                canary=RegressionGuard(scorer, manifest, config.defences.canary_tasks, _secret_seed(identity)),
                examples=await gather_examples(scorer, manifest, rendering_of(config, manifest), config.policy.examples),
            ),
            listeners,
            checkpoint.node_state(newest) if newest else {},
        )

        await doubt_at_start(node)
        opened = trio.Event()

        async def be_on_network() -> None:
            async with open_network(lambda data: verdict(node.admission, data)) as network:
                node.network = bodies.network = network
                serve(node, network)
                if drand:
                    network.serve(BEACON_PROTOCOL, drand.answer, max_request_bytes=REQUEST_BYTES)
                opened.set()
                try:
                    async with trio.open_nursery() as beside:
                        beside.start_soon(lambda: supervise("own log", lambda: keep_own_log(node, network), node.part_failed))
                        beside.start_soon(lambda: supervise("proofs", lambda: publish_proofs(node, network), node.part_failed))
                        beside.start_soon(lambda: supervise("judging", lambda: judge_peers(node, network), node.part_failed))
                        beside.start_soon(lambda: supervise("log sync", lambda: node.sync.run(network), node.part_failed))
                        await supervise("admission", lambda: receive(node, network), node.part_failed)
                        beside.cancel_scope.cancel()
                finally:
                    node.network = bodies.network = None

        async with trio.open_nursery() as nursery:
            if drand:
                await drand.restore()
                nursery.start_soon(lambda: supervise("beacon", drand.run, node.part_failed))
            nursery.start_soon(lambda: supervise("network", be_on_network, node.part_failed, begun_once=opened.is_set))
            await opened.wait()
            assert node.network is not None  # noqa: S101 - it has just opened
            node.emit(NodeStarted(identity.peer_id, node.round, node.network.addresses()))
            try:
                yield node
            finally:
                nursery.cancel_scope.cancel()
    node.emit(NodeStopped(identity.peer_id, node.round))


def _secret_seed(identity: Identity) -> int:
    """For the held-out tasks that only this node knows; the same after a restart, so that readings can be compared."""
    return int.from_bytes(hashlib.sha256(b"swarmd canary\0" + identity.seed).digest()[:6])


def _check_rules(manifest: Manifest, config: Config) -> None:
    """Settings under which every peer would refuse what this node shares, and think the worse of it."""
    size = config.generation.num_generations
    if not manifest.min_group_size <= size <= manifest.max_group_size:
        raise ConfigError(
            f"generation.num_generations is {size}, but the swarm {manifest.name} takes groups of {manifest.min_group_size} to "
            f"{manifest.max_group_size} completions"
        )
    rendering = rendering_of(config, manifest)
    if rendering not in manifest.renderings:
        raise ConfigError(
            f"policy.rendering is {rendering}, but the swarm {manifest.name} shows its tasks as {', '.join(manifest.renderings)}"
        )


async def _check_environments(manifest: Manifest, config: Config, scorer: Scorer) -> None:
    installed, rules = scorer.versions(), chosen_rules(manifest, config.tasks)
    for rule in rules:
        family = rule.name.partition("/")[0]
        if installed.get(family) != rule.version:
            have = f"version {installed[family]} is installed" if family in installed else "it is not installed"
            raise ConfigError(
                f"the swarm {manifest.name} needs {family} {rule.version}, but here {have}; install the swarm's version, or join "
                "a swarm of yours"
            )
    try:
        await scorer.check([rule.name for rule in rules])
    except ChildFailed as error:
        raise ConfigError(f"the swarm {manifest.name} cannot be joined here: {error}") from None
