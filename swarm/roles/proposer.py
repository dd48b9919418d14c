"""Proposes tasks: chooses environment and level, counts indices, and rebuilds each recipe like everybody else would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

import trio

from protocols.manifest import EnvironmentRule, Manifest, Range, epoch_of
from protocols.recipe import Parameter, Recipe, seed
from swarm.clock import Clock
from swarm.config.schema import TasksSection
from swarm.errors import ChildDied, ChildFailed, ChildTimeout, ConfigError
from swarm.records import Task
from swarm.roles.curriculum import Arm, Curriculum
from swarm.tasks.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Proposed:
    """The indices proposed in an epoch since the last share: `first_index .. first_index + count - 1`."""

    epoch: int
    first_index: int
    count: int


@dataclass(frozen=True, slots=True)
class Reached:
    """How far has been proposed: all indices of this epoch below `next_index`."""

    epoch: int
    next_index: int


class Proposer:
    """`next_index` of `epoch` is where the own log ended; a new epoch begins at 0."""

    def __init__(
        self,
        manifest: Manifest,
        key: bytes,
        scorer: Scorer,
        beacon: Callable[[int], bytes | None],
        clock: Clock,
        settings: TasksSection,
        *,
        epoch: int,
        next_index: int,
    ) -> None:
        self._manifest = manifest
        self._key = key
        self._scorer = scorer
        self._beacon = beacon
        self._clock = clock
        self._epoch = epoch
        self._next = next_index
        # What shares have accounted for; rounds that were proposed since may wait for theirs, one behind the other.
        self._accounted = Reached(epoch, next_index)
        self._rules = {rule.name: rule for rule in chosen_rules(manifest, settings)}
        self.curriculum = Curriculum(_arms(list(self._rules.values())), adaptive=settings.curriculum)

    @property
    def environments(self) -> tuple[str, ...]:
        """What this node proposes from."""
        return tuple(self._rules)

    async def propose(self, count: int, choices: int, random: Random) -> list[list[Task]]:
        """Up to `count` places, in order, each with up to `choices` tasks of one environment, one of which is to be solved.

        Fewer at the end of the epoch's indices, which the manifest caps, and none while no epoch that is recent enough has a
        known value. Raises `ChildFailed` for a task that its environment refuses.
        """
        value = self._turn()
        if value is None:
            return []
        arms: list[Arm] = []
        for _ in range(count):
            first = self.curriculum.choose(random)
            arms += [first, *(self.curriculum.another(first, random) for _ in range(choices - 1))]
        count = min(len(arms), self._manifest.tasks_per_epoch - self._next)
        recipes = [self._recipe(self._next + offset, *arm) for offset, arm in enumerate(arms[:count])]
        self._next += count
        built: list[Sequence[Task]] = [()] * count
        refused: list[ChildFailed] = []

        async def build(position: int) -> None:
            recipe = recipes[position]
            # A task that takes its worker too long, or down, is left out; an environment that refuses is an error to be seen.
            try:
                built[position] = await self._scorer.build([(recipe, seed(recipe, value))])
            except ChildFailed as error:
                refused.append(error)
            except (ChildTimeout, ChildDied):
                return

        async with trio.open_nursery() as nursery:
            for position in range(count):
                nursery.start_soon(build, position)
        if refused:
            raise refused[0]
        places = [[task for tasks in built[first : first + choices] for task in tasks] for first in range(0, count, choices)]
        return [place for place in places if place]

    def _turn(self) -> bytes | None:
        """Begin the newest epoch whose value is known; the value of the epoch to propose in, None where there is none."""
        open_now = proposable(self._manifest, self._clock.now_ms())
        newest = next((epoch for epoch in open_now if self._beacon(epoch) is not None), -1)
        if newest > self._epoch:
            self._epoch, self._next = newest, 0
        return self._beacon(self._epoch) if self._epoch >= open_now[-1] else None

    def _recipe(self, index: int, environment: str, level: int) -> Recipe:
        rule = self._rules[environment]
        parameters = parameters_at(rule, level)
        return Recipe(environment, rule.version, parameters, self._epoch, self._key, index)

    @property
    def reached(self) -> Reached:
        """Where proposing has come to."""
        return Reached(self._epoch, self._next)

    def proposed(self, reached: Reached) -> Proposed:
        """The range that the next share has to account for, when it is about what was proposed until `reached`."""
        first = self._first(reached)
        return Proposed(reached.epoch, first, reached.next_index - first)

    def take_proposed(self, reached: Reached) -> Proposed:
        """That range, which a share accounts for now; the one after it begins where this ends."""
        proposed = self.proposed(reached)
        self._accounted = reached
        return proposed

    def unshared(self, recipe: Recipe, reached: Reached) -> bool:
        """Whether that share can carry this task; `resume` may have left it behind."""
        return recipe.epoch == reached.epoch >= self._accounted.epoch and recipe.index >= self._first(reached)

    def _first(self, reached: Reached) -> int:
        return self._accounted.next_index if self._accounted.epoch == reached.epoch else 0

    def resume(self, epoch: int, next_index: int) -> None:
        """The own log turned out to end here: indices before that are used, in this or an earlier life of this node."""
        if epoch > self._epoch:
            self._epoch, self._next = epoch, next_index
        elif epoch == self._epoch:
            self._next = max(self._next, next_index)
        self._accounted = Reached(epoch, next_index) if epoch == self._epoch else self._accounted

    @property
    def epoch(self) -> int:
        """The epoch of the newest tasks."""
        return self._epoch


def proposable(manifest: Manifest, now_ms: int) -> Sequence[int]:
    """The epochs to propose in, newest first: this one and, while its value may still be under way, the one before.

    Only for the first half of this one, so that what is proposed then reaches everybody before it is stale.
    """
    half_ms = manifest.epoch_seconds * 500
    return range(epoch_of(manifest, now_ms), max(epoch_of(manifest, now_ms - half_ms), 0) - 1, -1)


def chosen_rules(manifest: Manifest, settings: TasksSection) -> list[EnvironmentRule]:
    """The manifest's rules that `tasks.environments` keeps. Raises `ConfigError` for a name the manifest does not have."""
    known = {rule.name: rule for rule in manifest.environments}
    unknown = [name for name in settings.environments if name not in known]
    if unknown:
        raise ConfigError(f"tasks.environments: the manifest has no {unknown[0]!r}; it has {', '.join(known)}")
    return [known[name] for name in settings.environments or known]


def _arms(rules: Sequence[EnvironmentRule]) -> list[Arm]:
    return [arm for rule in rules for arm in product([rule.name], levels(rule))]


def levels(rule: EnvironmentRule) -> range:
    """The levels that a rule allows."""
    level = dict(rule.parameters).get("level", 0)
    return range(level.min, level.max + 1) if isinstance(level, Range) else range(int(level), int(level) + 1)


def parameters_at(rule: EnvironmentRule, level: int) -> tuple[tuple[str, Parameter], ...]:
    """The recipe parameters of a rule at one of its levels, sorted by name."""
    fixed = {name: value for name, value in dict(rule.parameters).items() if not isinstance(value, Range)}
    return tuple(sorted((fixed | {"level": level}).items()))
