"""A small swarm's rules, and peers that sign what real peers would, for the tests of several rooms."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.codec import encode
from protocols.envelope import ENVELOPE_DOMAIN, NO_PREVIOUS, Envelope, seal
from protocols.manifest import EnvironmentRule, Manifest, Range
from protocols.messages import Announce, Body, Completion, PolicyTag, RolloutGroup, Share, pack_body
from protocols.recipe import Recipe
from swarm.config.schema import Config
from swarm.context import Context
from swarm.errors import ChildDied, ChildFailed
from swarm.home import Home
from swarm.identity import Identity
from swarm.pool.indices import IndexRange, Indices, Reached
from swarm.records import ScoredGroup, Task
from swarm.roles.proposer import Proposer

HOUR_MS = 3_600_000
EPOCH = 472_222
NOW_MS = EPOCH * HOUR_MS + HOUR_MS // 2  # in the middle of an epoch
RULES = Manifest(
    name="toy",
    environments=(
        EnvironmentRule("toy/add", "1", {"level": Range(0, 2)}),
        EnvironmentRule("toy/sort", "1", {"level": Range(0, 0)}),
    ),
    renderings=("compact",),
    epoch_seconds=3600,
    tasks_per_epoch=100,
    min_group_size=2,
    max_group_size=8,
    max_completion_chars=16,
    max_completion_tokens=16,
    max_groups_per_share=4,
)
POLICY = PolicyTag("embedded", bytes(32), 3)


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
    """A scorer whose verdict is in the text: "right…" earns 1, "slow" and "broken" fail, all else earns 0."""

    calls: list[tuple[Recipe, int, str, tuple[str, ...]]] = field(default_factory=list)

    async def __call__(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        self.calls.append((recipe, seed, rendering, tuple(texts)))
        if "slow" in texts:
            raise ChildDied("used up its seconds")
        if "broken" in texts:
            raise ChildFailed("ValueError", "no such thing")
        return Judged(task_of(recipe, seed), tuple(rewards_of(texts)))


def rewards_of(texts: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(text.startswith("right")) for text in texts)


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


def answers(*texts: str, tokens: int = 5) -> tuple[Completion, ...]:
    return tuple(Completion(text, True, tokens, -1.5) for text in texts)


@dataclass
class Peer:
    """One identity with its log; every method has what it needs to be honest, and each part can be replaced."""

    number: int = 1
    rules: Manifest = RULES
    now_ms: int = NOW_MS
    sequence: int = 0
    previous: bytes = NO_PREVIOUS
    next_index: int = 0

    def __post_init__(self) -> None:
        self.private_key = Ed25519PrivateKey.from_private_bytes(bytes([self.number]) * 32)
        self.key = self.private_key.public_key().public_bytes_raw()

    def group(self, index: int, *texts: str, **changes: object) -> RolloutGroup:
        """A group with true rewards; a change of a recipe's field goes to the recipe."""
        recipe = Recipe("toy/add", "1", (("level", 1),), EPOCH, self.key, index)
        of_recipe = {name: changes.pop(name) for name in list(changes) if hasattr(recipe, name)}
        recipe = replace(recipe, **of_recipe)  # type: ignore[arg-type]
        texts = texts or ("right", "wrong")
        group = RolloutGroup(recipe, "compact", POLICY, answers(*texts), rewards_of(texts))
        return replace(group, **changes)  # type: ignore[arg-type]

    def share(self, *groups: RolloutGroup, **changes: object) -> Share:
        """A share that joins the one before; without groups given it holds one."""
        groups = groups or (self.group(self.next_index),)
        first = self.next_index
        last = max((group.recipe.index for group in groups), default=first - 1)
        share = Share(self.sequence, EPOCH, first, max(last + 1 - first, 1), groups)
        return replace(share, **changes)  # type: ignore[arg-type]

    def seal(self, body: Body, **changes: object) -> Envelope:
        """The next envelope of the log; changes replace its place or time, and do not move the log's end."""
        place = {"sequence": self.sequence, "previous": self.previous, "time_ms": self.now_ms} | changes
        return seal(self.private_key, body=body, swarm=self.rules.id, **place)  # type: ignore[arg-type]

    def publish(self, *groups: RolloutGroup, **changes: object) -> bytes:
        """The bytes of the next share; the log moves on."""
        share = self.share(*groups, **changes)
        return self.advance(self.seal(share), share)

    def announce(self, *groups: RolloutGroup) -> tuple[bytes, bytes]:
        """(envelope, body) of the next share, announced by hash."""
        share = self.share(*groups)
        body = pack_body(share)
        return self.advance(self.seal(Announce(hashlib.sha256(body).digest(), len(body))), share), body

    def advance(self, envelope: Envelope, share: Share) -> bytes:
        self.sequence, self.previous = envelope.sequence + 1, envelope.id
        self.next_index = share.first_index + share.count
        return envelope.to_bytes()

    def sign_anything(self, kind: int, body: bytes, version: int = 1) -> bytes:
        """A well-signed envelope around bytes that `seal` would refuse."""
        signed = [version, int(kind), self.key, self.sequence, self.previous, self.now_ms, body]
        return encode([*signed, self.private_key.sign(ENVELOPE_DOMAIN + self.rules.id + encode(signed))])


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
