"""The common part of one run's nodes: who is here, their results, and their meeting points."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from protocols.manifest import Manifest
from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.events import Event
from swarm.node.node import Node
from swarm.roles.held_out_accuracy import Examined, HeldOut, examine
from swarm.sim.curve import Examiner, Point
from swarm.sim.networks import AttackRecord, Networks
from swarm.sim.options import SimulationOptions
from swarm.sim.results import NodeResult
from swarm.sim.weather import Divider, Stay, side_of, stays
from swarm.tasks.scoring import Scorer

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@dataclass(frozen=True, slots=True)
class SwarmPlan:
    """What to run: one configuration per place, in one swarm.

    Homes are made in `directory`, and `progress` hears every node's events by its place.
    """

    options: SimulationOptions
    manifest: Manifest
    configs: tuple[Config, ...]
    directory: Path
    progress: Callable[[int, Event], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One result per stay, those at the end of the run first, each in the order of their places."""

    results: tuple[NodeResult, ...]
    attack: AttackRecord | None
    curve: tuple[Point, ...] = ()

    @property
    def present(self) -> tuple[NodeResult, ...]:
        """The results of the nodes that were there at the end."""
        return tuple(result for result in self.results if result.last)


class Barrier:
    """Everybody waits until all have arrived."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._all_here = trio.Event()

    async def arrive(self) -> None:
        """Arrive, and wait for the others."""
        self._missing -= 1
        if self._missing <= 0:
            self._all_here.set()
        await self._all_here.wait()


class SimulatedSwarm:
    """One run. A place is held by one node all the time, or with churn by one after another."""

    def __init__(self, plan: SwarmPlan, clock: Clock, scorer: Scorer, problems: Sequence[HeldOut], networks: Networks) -> None:
        options, places = plan.options, len(plan.configs)
        self.plan = plan
        self.clock = clock
        self.networks = networks
        self.paces = options.paces(places)
        self.stays = stays([pace.rounds for pace in self.paces], options.churn)
        self.examiner = Examiner(options, places, scorer, problems) if options.evaluate_every else None
        self.first_address = trio.Event()
        self.opened, self.ended, self.measured = Barrier(places), Barrier(places), Barrier(places)
        self.nodes: dict[int, Node] = {}
        self.written: dict[int, frozenset[bytes]] = {}
        self.results: dict[int, NodeResult] = {}
        self._rounds = [0] * places
        self._divider = Divider(networks.memory, options.rounds, self._halves) if options.partition else None
        self._scorer = scorer
        self._problems = problems
        self._examined: dict[bytes, Examined] = {}
        self._one_at_a_time = trio.Lock()

    def config_of(self, stay: Stay) -> Config:
        """Return a node's configuration: its place's, with an own seed and a peer to join by."""
        config = self.plan.configs[stay.place]
        network = replace(config.network, listen=(LOOPBACK,), announce=(), mdns=False)
        networks = [node.exchange.uplink.network for node in self.nodes.values()]
        here = [network.addresses() for network in networks if network is not None]
        swarm = replace(config.swarm, bootstrap=here[0] if here else ())
        seed = f"{self.plan.options.seed}/{stay.number}/node".encode()
        node_seed = int.from_bytes(hashlib.sha256(seed).digest()[:6]) + 1
        return replace(config, network=network, swarm=swarm, node=replace(config.node, seed=node_seed, rounds=stay.rounds))

    def count_round(self, place: int, done: int) -> None:
        """Note the rounds that a place has done; a partition begins and ends by them."""
        self._rounds[place] = done
        if self._divider is not None:
            self._divider.slowest(min(self._rounds))

    def _halves(self) -> list[frozenset[str]]:
        """Return the peers of the first half of the places; all others are the second half."""
        here = [node.context.identity.peer_id for number, node in sorted(self.nodes.items()) if self._side(number) == 0]
        return [frozenset(here)]

    def _side(self, number: int) -> int:
        place = next(stay.place for stays_ in self.stays for stay in stays_ if stay.number == number)
        return side_of(place, len(self.stays))

    async def examine(self, node: Node) -> Examined:
        """Measure held-out accuracy, of equal weights once: all nodes begin with the same."""
        async with self._one_at_a_time:
            roles = node.learner.roles
            digest = roles.policy.tag.digest
            if digest not in self._examined:
                self._examined[digest] = await examine(roles.policy, self._scorer, self._problems, roles.view)
            return self._examined[digest]

    def outcome(self) -> Outcome:
        """Return the run's outcome, once all nodes are done."""
        results = sorted(self.results.values(), key=lambda result: (not result.last, result.stay.place))
        return Outcome(tuple(results), self.networks.record(), self.examiner.points if self.examiner else ())
