"""A small swarm's rules, and peers that sign what real peers would, for the tests of several
rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.manifest import Manifest
from protocols.recipe import Recipe
from swarm.config.schema import Config
from swarm.context import Context
from swarm.errors import ChildDied, ChildFailed
from swarm.home import Home
from swarm.identity import Identity
from swarm.pool.indices import IndexRange, Indices, Reached
from swarm.records import ScoredGroup, Task
from swarm.roles.proposer import Proposer
from swarm.testing.peers import EPOCH, HOUR_MS, NOW_MS, POLICY, RULES, Peer, answers, rewards_of

__all__ = ["EPOCH", "HOUR_MS", "NOW_MS", "POLICY", "RULES", "Peer", "answers", "rewards_of"]


@dataclass
class StillClock:
    """A clock that a test sets."""

    ms: int = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    @asynccontextmanager
    async def work(self, cost: float) -> AsyncIterator[None]:
        yield

    def took(self, real_s: float, cost: float) -> float:
        return real_s


def context_of(
    key: Ed25519PrivateKey, clock: Any, rules: Manifest = RULES, config: Config | None = None, listeners: Sequence[Any] = ()
) -> Context:
    """The context of a node that has no home of its own."""
    return Context(Home(Path("no home")), Identity(key), config or Config(), rules, clock, tuple(listeners))


@dataclass(frozen=True)
class Judged:
    task: Task
    rewards: tuple[float, ...]


@dataclass
class Judge:
    """A scorer whose verdict is in the text: "right…" earns 1, "slow" and "broken" fail, all else
    earns 0."""

    calls: list[tuple[Recipe, int, str, tuple[str, ...]]] = field(default_factory=list)

    async def __call__(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        self.calls.append((recipe, seed, rendering, tuple(texts)))
        if "slow" in texts:
            raise ChildDied("used up its seconds")
        if "broken" in texts:
            raise ChildFailed("ValueError", "no such thing")
        return Judged(task_of(recipe, seed), tuple(rewards_of(texts)))


def task_of(recipe: Recipe, seed: int = 7) -> Task:
    return Task(recipe, seed, {"compact": f"{recipe.environment}:{seed % 1000}=", "prose": "Please."}, "right")


async def tasks_of(proposer: Proposer, count: int, random: Random) -> list[Task]:
    """What it proposes without alternatives."""
    return [task for place in await proposer.propose(count, 1, random) for task in place]


class CountedProposer(Proposer):
    """A proposer whose indices a test may account for, as shares do."""

    def __init__(self, context: Context, scorer: Any, beacon: Any, end: Reached) -> None:
        self.indices = Indices(end)
        super().__init__(context, scorer, beacon, self.indices)

    @property
    def epoch(self) -> int:
        return self.reached.epoch

    def take_proposed(self, reached: Reached) -> IndexRange:
        """The range that a share of what was proposed until `reached` accounts for."""
        used = self.indices.up_to(reached)
        self.indices.account(reached)
        return used


def scored(signer: bytes, index: int, **changes: object) -> ScoredGroup:
    """A group as the store keeps it."""
    recipe = Recipe("toy/add", "1", (("level", 1),), EPOCH, signer, index)
    of_recipe = {name: changes.pop(name) for name in list(changes) if hasattr(recipe, name)}
    policy = replace(POLICY, step=changes.pop("step", POLICY.step))  # type: ignore[arg-type]
    group = ScoredGroup(
        task=task_of(replace(recipe, **of_recipe)),  # type: ignore[arg-type]
        rendering="compact",
        policy=policy,
        completions=answers("right", "wrong"),
        rewards=(1.0, 0.0),
        signer=signer,
        envelope=bytes(32),
        received_ms=NOW_MS,
    )
    return replace(group, **changes)  # type: ignore[arg-type]
