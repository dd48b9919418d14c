"""Runs N of the very nodes that `swarmd start` runs, in one trio loop, and measures them.

On "libp2p" they talk over loopback in real time. On "memory" they talk over a seeded network on a
virtual clock; then everything that happens follows from the seed, down to the last weight.

A run has places, of which `swarm.sim.weather` says who holds them when. Attacking peers hold none.
"""

from __future__ import annotations

import trio
from trio.testing import MockClock

from swarm.clock import Clock, VirtualClock, WallClock
from swarm.home import Home
from swarm.identity import Identity
from swarm.roles.held_out_accuracy import held_out_set
from swarm.roles.suitable import rendering_of
from swarm.sim.attacks.attacking_peer import Attackers, AttackPlan
from swarm.sim.life import live
from swarm.sim.networks import Networks
from swarm.sim.simulated_swarm import Outcome, SimulatedSwarm, SwarmPlan
from swarm.sim.weather import Stay
from swarm.tasks.scoring import Scorer

# Virtual time begins here, so that epochs and envelopes are the same in every run.
VIRTUAL_START_MS = 1_767_225_600_000
EVALUATION_TIMEOUT_S = 10.0
# On virtual time nodes join one after the other: who comes first in the same moment would not be
# given by the seed.
APART_S = 0.1


def run_swarm(plan: SwarmPlan, evaluation_prompts: int) -> Outcome:
    """Run a plan to its end; accuracy is measured on `evaluation_prompts` per environment."""
    if plan.options.network == "memory":
        mock = MockClock()
        return trio.run(_run, plan, evaluation_prompts, VirtualClock(mock, VIRTUAL_START_MS), clock=mock)
    return trio.run(_run, plan, evaluation_prompts, WallClock())


async def _run(plan: SwarmPlan, evaluation_prompts: int, clock: Clock) -> Outcome:
    attackers = _attackers(plan, clock)
    networks = Networks(plan.options, clock, attackers)
    async with Scorer(2, EVALUATION_TIMEOUT_S, clock) as scorer:
        problems = await held_out_set(scorer, plan.manifest, evaluation_prompts)
        swarm = SimulatedSwarm(plan, clock, scorer, problems, networks)
        async with trio.open_nursery() as background:
            async with trio.open_nursery() as nursery:
                # The first node is the one that the others join by.
                nursery.start_soon(_hold_place, swarm, 0)
                await swarm.first_address.wait()
                for place in range(1, len(plan.configs)):
                    nursery.start_soon(_hold_place, swarm, place)
                if attackers is not None:
                    for number in range(attackers.plan.attackers):
                        background.start_soon(_attack, swarm, attackers, number)
            background.cancel_scope.cancel()
    return swarm.outcome()


def _attackers(plan: SwarmPlan, clock: Clock) -> Attackers | None:
    options = plan.options
    if options.attack is None:
        return None
    attack = AttackPlan(options.attack, options.attackers, options.attack_groups)
    return Attackers(attack, plan.manifest, rendering_of(plan.configs[0], plan.manifest), options.seed, clock)


async def _hold_place(swarm: SimulatedSwarm, place: int) -> None:
    """Let the nodes of one place live, one after the other."""
    if swarm.plan.options.network == "memory":
        await trio.sleep(place * APART_S)
    for stay in swarm.stays[place]:
        await live(swarm, stay, last=stay is swarm.stays[place][-1])


async def _attack(swarm: SimulatedSwarm, attackers: Attackers, number: int) -> None:
    """Let one attacking peer live, in the network like everybody else, until cancelled."""
    config = swarm.config_of(Stay(-1 - number, 0, 0, 0))
    home = Home(swarm.plan.directory / f"attacker-{number}").create()
    await attackers.run(number, swarm.networks.opener(home, Identity(attackers.key(number)), config))
