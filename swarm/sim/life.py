"""One simulated node's life: join, be measured, learn, hear the last messages, be measured."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarm.clock import PacedClock
from swarm.context import Context
from swarm.events import Event, Refused, RolledBack, RoundFinished
from swarm.home import Home
from swarm.identity import Identity
from swarm.node.node import Node
from swarm.node.opening import open_node
from swarm.pool.store.log_table import begin
from swarm.sim.results import Heard, held_by, result_of, written_by
from swarm.sim.simulated_swarm import SimulatedSwarm
from swarm.sim.weather import Stay

# How long the nodes may take to find each other before they begin, and to hear the last messages
# after they end.
MEETING_S = 20.0
DRAIN_S = {"libp2p": 15.0, "memory": 180.0}  # virtual time costs nothing, and logs that a partition left behind take a minute
ENOUGH_PEERS = 4


async def live(swarm: SimulatedSwarm, stay: Stay, *, last: bool) -> None:
    """Hold a place for one stay, and note the result; `last` if no node follows."""
    plan, number = swarm.plan, stay.number
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{plan.options.seed}/{number}".encode()).digest())
    identity, config = Identity(key), swarm.config_of(stay)
    home = Home(plan.directory / f"node-{number}").create()
    if not home.pool.exists():
        begin(home.pool, identity.public_key)
    rounds: dict[int, RoundFinished] = {}
    refused: Counter[tuple[str, str]] = Counter()
    rollbacks: list[RolledBack] = []

    def listen(event: Event) -> None:
        if isinstance(event, RoundFinished):
            rounds[event.round] = event
            done = stay.first + len(rounds)
            if swarm.examiner is not None and swarm.examiner.due(done):
                examinations.start_soon(swarm.examiner.examine, swarm.nodes[number], stay.place, done)
            swarm.count_round(stay.place, done)
        elif isinstance(event, Refused):
            refused[event.signer, event.reason] += 1
        elif isinstance(event, RolledBack):
            rollbacks.append(event)
        plan.progress(stay.place, event)

    open_network = swarm.networks.watched_opener(home, identity, config)
    clock = PacedClock(swarm.clock, swarm.paces[stay.place].speed)
    async with open_node(Context(home, identity, config, plan.manifest, clock, (listen,)), open_network) as node:
        swarm.nodes[number] = node
        swarm.first_address.set()
        before = await swarm.examine(node)
        if stay.first == 0:
            await swarm.opened.arrive()
        enough = min(len(plan.configs) - 1, ENOUGH_PEERS)
        await _until(lambda: node.exchange.connected() >= enough and not node.exchange.beacon.problem(), MEETING_S)
        if swarm.examiner is not None:
            swarm.examiner.begin()
        async with trio.open_nursery() as examinations:
            await node.learn()
        swarm.written[number] = frozenset(await written_by(node))
        if last:
            await swarm.ended.arrive()
            await _drain(swarm, node, number)
        # Counted before the evaluation, in which time goes by: whose turn it is there is not given
        # by the seed.
        result = await result_of(node, stay, Heard(rounds, refused, len(rollbacks)), before, last=last)
        swarm.results[number] = replace(result, after=await swarm.examine(node))
        if last:
            await swarm.measured.arrive()
        del swarm.nodes[number]


async def _drain(swarm: SimulatedSwarm, node: Node, number: int) -> None:
    """Wait until the node holds all that the others who are here have written."""
    wanted = frozenset().union(*(swarm.written[other] for other in swarm.nodes if other != number))
    pause = 0.25
    with trio.move_on_after(DRAIN_S[swarm.plan.options.network]):
        while not wanted <= await held_by(node):
            await trio.sleep(pause)
            pause = min(1.5 * pause, 5.0)


async def _until(true: Callable[[], bool], seconds: float) -> None:
    with trio.move_on_after(seconds):
        while not true():  # noqa: ASYNC110 - a simulation looks at its nodes from outside, which send no events for this
            await trio.sleep(0.1)
