"""Puts a node together: opens its parts in the order of their needs, joins learner and exchange,
and keeps them running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from protocols.manifest import Manifest
from swarm.beacon.beacon import Beacon, DrandBeacon, LocalBeacon
from swarm.config.schema import Config
from swarm.context import Context
from swarm.errors import ChildFailed, ConfigError
from swarm.events import NodeStarted, NodeStopped
from swarm.exchange.exchange import Exchange
from swarm.exchange.own_log import open_log
from swarm.exchange.recovery import doubt_at_start
from swarm.exchange.uplink import Uplink
from swarm.learner.learner import Learner
from swarm.net.network import OpenNetwork
from swarm.node.node import Node
from swarm.policy import checkpoint
from swarm.policy.policy import Policy
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores
from swarm.pool.store import proof_table, standing_table
from swarm.roles.proposer import Proposer, chosen_rules
from swarm.roles.roles import Roles
from swarm.roles.suitable import why_not
from swarm.roles.view import view_of
from swarm.supervisor import supervise
from swarm.tasks.scoring import LIMIT_S, Scorer


@asynccontextmanager
async def open_node(context: Context, open_network: OpenNetwork) -> AsyncIterator[Node]:
    """Yield a node on the network, not learning yet (`Node.learn`). Raises the error of a part that
    fails to open."""
    home, config, manifest, clock = context.home, context.config, context.manifest, context.clock
    if why := why_not(config, manifest):
        raise ConfigError(why)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(home.pool, config.pool, clock))
        await pool.run(lambda store: store.belong_to(manifest.id))
        log = await open_log(context, pool)
        async with clock.work(0):
            newest = await trio.to_thread.run_sync(checkpoint.newest, home.checkpoints)
        scorer = await stack.enter_async_context(Scorer(config.scoring.workers, LIMIT_S, clock))
        await _check_environments(manifest, config, scorer)
        policy = await stack.enter_async_context(Policy(config, clock, checkpoint=newest, handover=home.handover))

        uplink = Uplink()
        drand = DrandBeacon(context, pool, lambda: uplink.network) if manifest.drand else None
        beacon: Beacon = drand or LocalBeacon(manifest)
        standing = await _open_standing(config, pool)
        admission = Admission(context, pool, standing, scorer.score, uplink.fetch_body, beacon.value)
        exchange = Exchange(context, pool, admission, beacon, log, uplink)
        proposer = Proposer(context, scorer, beacon, log.indices)
        roles = Roles(proposer, policy, scorer, await view_of(config, manifest, scorer))
        state = checkpoint.node_state(newest) if newest else {}
        learner = Learner(context, pool, standing, roles, exchange, state)
        node = Node(context, pool, learner, exchange)

        await doubt_at_start(context, pool, log)
        opened = trio.Event()

        async def be_on_network() -> None:
            await exchange.run(open_network, learner, node.part_failed, opened.set)

        name = context.identity.peer_id
        async with trio.open_nursery() as nursery:
            if drand:
                await drand.restore()
                nursery.start_soon(supervise, "beacon", drand.run, node.part_failed)
            nursery.start_soon(lambda: supervise("network", be_on_network, node.part_failed, begun_once=opened.is_set))
            await opened.wait()
            context.emit(NodeStarted(name, learner.round, uplink.addresses()))
            try:
                yield node
            finally:
                nursery.cancel_scope.cancel()
    context.emit(NodeStopped(name, learner.round))


async def _open_standing(config: Config, pool: Pool) -> PeerScores:
    """Load the peer scores that the pool holds, and the convicted signers."""
    standing = PeerScores(config.defences.newcomer_share)
    standing.restore(await pool.run(standing_table.load))
    standing.convict(await pool.run(proof_table.equivocators))
    return standing


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
        await scorer.check(rules, manifest.renderings)
    except ChildFailed as error:
        raise ConfigError(f"the swarm {manifest.name} cannot be joined here: {error}") from None
