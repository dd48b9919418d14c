"""Runs N of the very nodes that `swarmd start` runs, in one trio loop, and measures what came of it.

On "libp2p" they talk over loopback in real time. On "memory" they talk over a seeded network on a virtual clock; then
everything that happens follows from the seed, down to the last weight.

A run has places. A place is held by one node all the time, or with churn by one after another. Attacking peers hold none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from protocols.manifest import Manifest
from swarm.clock import Clock, PacedClock, VirtualClock, WallClock
from swarm.config.schema import Config
from swarm.context import Context
from swarm.events import Event, Refused, RoundFinished
from swarm.home import Home
from swarm.identity import Identity
from swarm.net.network import Network, OpenNetwork, Subscription, Verdict
from swarm.net.simulated import Conditions, MemoryNetwork
from swarm.node.node import Node
from swarm.node.opening import open_node
from swarm.pool.store.log_table import begin
from swarm.roles.held_out_accuracy import Examined, HeldOut, examine, held_out_set
from swarm.roles.view import rendering_of
from swarm.sim.attacks.attacking_peer import Attackers, AttackPlan
from swarm.sim.curve import Examiner, Point
from swarm.sim.options import Pace
from swarm.sim.results import Heard, NodeResult, held_by, result_of, written_by
from swarm.sim.weather import Divider, Stay, Weather, stays
from swarm.tasks.scoring import Scorer

# Virtual time begins here, so that epochs and envelopes are the same in every run.
VIRTUAL_START_MS = 1_767_225_600_000
EVALUATION_TIMEOUT_S = 10.0
# How long the nodes may take to find each other before they begin, and to hear the last messages after they end.
MEETING_S = 20.0
DRAIN_S = {"libp2p": 15.0, "memory": 180.0}  # virtual time costs nothing, and logs that a partition left behind take a minute
ENOUGH_PEERS = 4
# On virtual time nodes join one after the other: who comes first in the same moment would not be given by the seed.
APART_S = 0.1
LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """What to run: one configuration per place, in one swarm, from one seed. `progress` hears every node's events by place.

    Held-out accuracy is measured before and after, and with `evaluate_every` above 0 each time so many rounds are done;
    then all stop once it is `until`, if that is above 0.
    `paces` are of the places.
    """

    manifest: Manifest
    configs: tuple[Config, ...]
    paces: tuple[Pace, ...]
    seed: int
    network: str
    rounds: int
    evaluation_prompts: int
    directory: Path
    progress: Callable[[int, Event], None]
    evaluate_every: int = 0
    until: float = 0.0
    attack: AttackPlan | None = None
    weather: Weather = field(default_factory=Weather)


@dataclass(frozen=True, slots=True)
class AttackRecord:
    """What the attackers did: their names, the groups they sent, those that reached honest nodes, and messages refused there
    by the validator already; the last two are summed over receivers."""

    peer_ids: frozenset[str]
    sent: int
    delivered: int
    turned_away: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One result per stay, those at the end of the run first, each in the order of their places."""

    results: tuple[NodeResult, ...]
    attack: AttackRecord | None
    curve: tuple[Point, ...] = ()

    @property
    def present(self) -> tuple[NodeResult, ...]:
        """Those who were there at the end."""
        return tuple(result for result in self.results if result.last)


def run_swarm(plan: SwarmPlan) -> Outcome:
    """Run it to its end."""
    if plan.network == "memory":
        mock = MockClock()
        return trio.run(_run, plan, VirtualClock(mock, VIRTUAL_START_MS), clock=mock)
    return trio.run(_run, plan, WallClock())


async def _run(plan: SwarmPlan, clock: Clock) -> Outcome:
    swarm = _Swarm(plan, clock)
    async with Scorer(2, EVALUATION_TIMEOUT_S, clock) as scorer:
        swarm.problems = await held_out_set(scorer, plan.manifest, plan.evaluation_prompts)
        swarm.scorer = scorer
        if plan.evaluate_every:
            places = len(plan.configs)
            swarm.examiner = Examiner(plan.evaluate_every, plan.rounds, plan.until, places, scorer, swarm.problems)
        async with trio.open_nursery() as background:
            async with trio.open_nursery() as nursery:
                # The first node is the one that the others join by.
                nursery.start_soon(swarm.hold_place, 0)
                await swarm.first_address.wait()
                for place in range(1, len(plan.configs)):
                    nursery.start_soon(swarm.hold_place, place)
                for number in range(plan.attack.attackers if plan.attack else 0):
                    background.start_soon(swarm.run_attacker, number)
            background.cancel_scope.cancel()
    return swarm.outcome()


class _Swarm:
    """What the nodes of one run have in common."""

    def __init__(self, plan: SwarmPlan, clock: Clock) -> None:
        self.plan = plan
        self.clock = clock
        self.scorer: Scorer
        self.problems: Sequence[HeldOut] = ()
        self.examiner: Examiner | None = None
        self.first_address = trio.Event()
        places = len(plan.configs)
        self._stays = stays([pace.rounds for pace in plan.paces], plan.weather.churn)
        self._results: dict[int, NodeResult] = {}
        self._nodes: dict[int, Node] = {}
        self._rounds: list[int] = [0] * places
        self._written: dict[int, frozenset[bytes]] = {}
        self._memory = MemoryNetwork(plan.seed, Conditions(loss=plan.weather.loss))
        self._divider = Divider(self._memory, plan.rounds, self._halves) if plan.weather.partition else None
        self._open = _Barrier(places)
        self._ended = _Barrier(places)
        self._measured = _Barrier(places)
        self._examined: dict[bytes, Examined] = {}
        self._one_at_a_time = trio.Lock()
        self._attackers: Attackers | None = None
        self._arrived: Counter[bytes] = Counter()
        self._turned_away = 0
        if plan.attack is not None:
            rendering = rendering_of(plan.configs[0], plan.manifest)
            self._attackers = Attackers(plan.attack, plan.manifest, rendering, plan.seed, clock)

    async def hold_place(self, place: int) -> None:
        """The nodes of one place, one after the other."""
        if self.plan.network == "memory":
            await trio.sleep(place * APART_S)
        for stay in self._stays[place]:
            await self._live(stay, last=stay is self._stays[place][-1])

    async def _live(self, stay: Stay, *, last: bool) -> None:
        """One node's life: join, be measured, learn, hear the last messages, be measured again."""
        plan, number = self.plan, stay.number
        key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{plan.seed}/{number}".encode()).digest())
        identity = Identity(key)
        config = self._config(stay)
        home = Home(plan.directory / f"node-{number}").create()
        if not home.pool.exists():
            begin(home.pool, identity.public_key)
        rounds: dict[int, RoundFinished] = {}
        refused: Counter[tuple[str, str]] = Counter()

        def listen(event: Event) -> None:
            if isinstance(event, RoundFinished):
                rounds[event.round] = event
                self._rounds[stay.place] = done = stay.first + len(rounds)
                if self.examiner is not None and self.examiner.due(done):
                    examinations.start_soon(self.examiner.examine, self._nodes[number], stay.place, done)
                if self._divider is not None:
                    self._divider.slowest(min(self._rounds))
            elif isinstance(event, Refused):
                refused[event.signer, event.reason] += 1
            plan.progress(stay.place, event)

        open_network = self._opener(home, identity, config)
        clock = PacedClock(self.clock, plan.paces[stay.place].speed)
        async with open_node(Context(home, identity, config, plan.manifest, clock, (listen,)), open_network) as node:
            self._nodes[number] = node
            self.first_address.set()
            before = await self._examine(node)
            if stay.first == 0:
                await self._open.arrive()
            enough = min(len(plan.configs) - 1, ENOUGH_PEERS)
            await _until(lambda: node.exchange.connected() >= enough and not node.exchange.beacon.problem(), MEETING_S)
            if self.examiner is not None:
                self.examiner.begin()
            async with trio.open_nursery() as examinations:
                await node.learn()
            self._written[number] = frozenset(await written_by(node))
            if last:
                await self._ended.arrive()
                await self._drain(node, number)
            # Counted before the evaluation, in which time goes by: whose turn it is there is not given by the seed.
            result = await result_of(node, stay, Heard(rounds, refused), before, last=last)
            self._results[number] = replace(result, after=await self._examine(node))
            if last:
                await self._measured.arrive()
            del self._nodes[number]

    async def _drain(self, node: Node, number: int) -> None:
        """Wait for what the others who are here have written."""
        wanted = frozenset().union(*(self._written[other] for other in self._nodes if other != number))
        pause = 0.25
        with trio.move_on_after(DRAIN_S[self.plan.network]):
            while not wanted <= await held_by(node):
                await trio.sleep(pause)
                pause = min(1.5 * pause, 5.0)

    def _config(self, stay: Stay) -> Config:
        config = self.plan.configs[stay.place]
        network = replace(config.network, listen=(LOOPBACK,), announce=(), mdns=False)
        networks = [node.exchange.uplink.network for node in self._nodes.values()]
        here = [network.addresses() for network in networks if network is not None]
        swarm = replace(config.swarm, bootstrap=here[0] if here else ())
        node_seed = int.from_bytes(hashlib.sha256(f"{self.plan.seed}/{stay.number}/node".encode()).digest()[:6]) + 1
        return replace(config, network=network, swarm=swarm, node=replace(config.node, seed=node_seed, rounds=stay.rounds))

    def _opener(self, home: Home, identity: Identity, config: Config) -> OpenNetwork:
        attackers = self._attackers
        if attackers is None:
            return self._network(home, identity, config)
        join = self._network(home, identity, config)

        def watched(subscription: Subscription[Any]) -> AbstractAsyncContextManager[Network]:
            def judge(data: bytes) -> Any:
                opened = subscription.validate(data)
                message = hashlib.sha256(data).digest()
                if message in attackers.sent:
                    self._arrived[message] += 1
                    self._turned_away += isinstance(opened, Verdict)
                return opened

            return join(replace(subscription, validate=judge))

        return watched

    def _network(self, home: Home, identity: Identity, config: Config) -> OpenNetwork:
        if self.plan.network == "memory":
            return lambda subscription: self._memory.join(identity.seed, subscription, clock=self.clock, config=config.network)
        # Imported where it is used: a simulation in memory has no need of libp2p, which takes a second.
        from swarm.node.joining import network_opener

        return network_opener(home, identity, config, self.clock)

    async def run_attacker(self, number: int) -> None:
        """One attacking peer, in the network like everybody else, until it is cancelled."""
        assert self._attackers is not None  # noqa: S101 - only started for a plan with an attack
        identity = Identity(self._attackers.key(number))
        config = self._config(Stay(-1 - number, 0, 0, 0))
        home = Home(self.plan.directory / f"attacker-{number}").create()
        join = self._network(home, identity, config)
        await self._attackers.run(number, join)

    def _halves(self) -> list[frozenset[str]]:
        """The peers of either half of the places; attackers go with the second."""
        here = [node.context.identity.peer_id for number, node in sorted(self._nodes.items()) if self._side(number) == 0]
        return [frozenset(here)]

    def _side(self, number: int) -> int:
        place = next(stay.place for stays_ in self._stays for stay in stays_ if stay.number == number)
        return side_of(place, len(self._stays))

    async def _examine(self, node: Node) -> Examined:
        # Equal weights are measured once: all nodes begin with the same.
        async with self._one_at_a_time:
            roles = node.learner.roles
            digest = roles.policy.tag.digest
            if digest not in self._examined:
                self._examined[digest] = await examine(roles.policy, self.scorer, self.problems, roles.view)
            return self._examined[digest]

    def outcome(self) -> Outcome:
        """What came of it, once everybody is done."""
        results = sorted(self._results.values(), key=lambda result: (not result.last, result.stay.place))
        record = None
        if self._attackers is not None:
            sent = self._attackers.sent
            record = AttackRecord(
                peer_ids=self._attackers.peer_ids,
                sent=sum(sent.values()),
                delivered=sum(sent[message] * count for message, count in self._arrived.items()),
                turned_away=self._turned_away,
            )
        return Outcome(tuple(results), record, self.examiner.points if self.examiner else ())


def side_of(place: int, places: int) -> int:
    """On which side of a partition a place is."""
    return int(place >= (places + 1) // 2)


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
