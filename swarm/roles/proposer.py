"""Proposes tasks: chooses environment and level, takes indices, and rebuilds each recipe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

import trio

from protocols.manifest import EnvironmentRule, Manifest, Range
from protocols.recipe import Parameter, Recipe, seed
from swarm.beacon.beacon import Beacon
from swarm.config.schema import TasksSection
from swarm.context import Context
from swarm.errors import ChildDied, ChildFailed, ChildTimeout, ConfigError
from swarm.pool.admission.epochs import proposable
from swarm.pool.indices import Indices, Reached
from swarm.records import Task
from swarm.roles.curriculum import Arm, Curriculum
from swarm.tasks.scoring import Scorer


class Proposer:
    """Proposes for one node from its `indices` on, in the newest epoch with a beacon value."""

    def __init__(self, context: Context, scorer: Scorer, beacon: Beacon, indices: Indices) -> None:
        self._context = context
        self._manifest = context.manifest
        self._scorer = scorer
        self._beacon = beacon
        self._indices = indices
        settings = context.config.tasks
        self._rules = {rule.name: rule for rule in chosen_rules(self._manifest, settings)}
        self.curriculum = Curriculum(_arms(list(self._rules.values())), adaptive=settings.curriculum)

    @property
    def environments(self) -> tuple[str, ...]:
        """The names of the environments that this node proposes from."""
        return tuple(self._rules)

    async def propose(self, count: int, choices: int, random: Random) -> list[list[Task]]:
        """Return up to `count` places in order, each with up to `choices` tasks of one environment.

        One task of each place is to be solved. At the end of the epoch's indices, which the
        manifest caps, there are fewer places. While no recent epoch has a known value there is no
        place. Raises `ChildFailed` for a task that its environment refuses.
        """
        value = self._turn()
        if value is None:
            return []
        arms: list[Arm] = []
        for _ in range(count):
            first = self.curriculum.choose(random)
            arms += [first, *(self.curriculum.another(first, random) for _ in range(choices - 1))]
        left = self._manifest.tasks_per_epoch - self._indices.reached.next_index
        used = self._indices.take(min(len(arms), left))
        recipes = [self._recipe(index, *arm) for index, arm in zip(used, arms, strict=False)]
        count = len(recipes)
        built: list[Sequence[Task]] = [()] * count
        refused: list[ChildFailed] = []

        async def build(position: int) -> None:
            recipe = recipes[position]
            # A task that is late or ends its worker is left out; a refusing environment is raised.
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
        """Begin the newest epoch with a known value; return the value of the one to propose in.

        Returns None if no recent epoch has one.
        """
        open_now = proposable(self._manifest, self._context.now_ms())
        self._indices.begin(next((epoch for epoch in open_now if self._beacon.value(epoch) is not None), -1))
        epoch = self._indices.reached.epoch
        return self._beacon.value(epoch) if epoch >= open_now[-1] else None

    def _recipe(self, index: int, environment: str, level: int) -> Recipe:
        rule = self._rules[environment]
        epoch = self._indices.reached.epoch
        return Recipe(environment, rule.version, parameters_at(rule, level), epoch, self._context.key, index)

    @property
    def reached(self) -> Reached:
        """The position up to which tasks were proposed."""
        return self._indices.reached

    def problem(self) -> str:
        """Return why a round may have had nothing to propose, and what to do."""
        return self._beacon.problem() or "this epoch's task indices are used up and no foreign groups came"


def chosen_rules(manifest: Manifest, settings: TasksSection) -> list[EnvironmentRule]:
    """Return the manifest's rules that `tasks.environments` keeps.

    Raises `ConfigError` for a name that the manifest does not have.
    """
    known = {rule.name: rule for rule in manifest.environments}
    unknown = [name for name in settings.environments if name not in known]
    if unknown:
        raise ConfigError(f"tasks.environments: the manifest has no {unknown[0]!r}; it has {', '.join(known)}")
    return [known[name] for name in settings.environments or known]


def _arms(rules: Sequence[EnvironmentRule]) -> list[Arm]:
    return [arm for rule in rules for arm in product([rule.name], levels(rule))]


def levels(rule: EnvironmentRule) -> range:
    """Return the levels that a rule allows."""
    level = dict(rule.parameters).get("level", 0)
    return range(level.min, level.max + 1) if isinstance(level, Range) else range(int(level), int(level) + 1)


def parameters_at(rule: EnvironmentRule, level: int) -> tuple[tuple[str, Parameter], ...]:
    """Return the recipe parameters of a rule at one of its levels, sorted by name."""
    fixed = {name: value for name, value in dict(rule.parameters).items() if not isinstance(value, Range)}
    return tuple(sorted((fixed | {"level": level}).items()))
