"""What to propose: environments and levels in proportion to what can be learned from them now.

A group teaches by the spread of its rewards, which for a pass rate p is p(1 - p): nothing where every answer is right or
every answer is wrong, most at a half. Each (environment, level) keeps a running pass rate of this node's own policy and is
proposed with a probability that grows with its spread; a floor keeps looking at what seemed solved or hopeless.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from swarm.records import ScoredGroup

Arm = tuple[str, int]

# Weight of the newest group in the running pass rate: about the last seven groups count.
RATE = 0.15
FLOOR = 0.15
UNKNOWN = 0.5


class Curriculum:
    """Running pass rates over `arms`; with `adaptive` off all arms are equally likely."""

    def __init__(self, arms: Sequence[Arm], *, adaptive: bool) -> None:
        self._arms = tuple(arms)
        self._adaptive = adaptive
        self._rates: dict[Arm, float] = {}
        self._best: dict[str, float] = {}

    def choose(self, random: Random) -> Arm:
        """The environment and level of one task."""
        if not self._adaptive:
            return random.choice(self._arms)
        weights = [FLOOR + 4 * rate * (1 - rate) for rate in (self._rates.get(arm, UNKNOWN) for arm in self._arms)]
        return random.choices(self._arms, weights)[0]

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Learn from own groups what the own policy can do."""
        for group in groups:
            recipe = group.task.recipe
            arm = (recipe.environment, _level(dict(recipe.parameters)))
            before = self._rates.get(arm, UNKNOWN)
            self._rates[arm] = before + RATE * (group.reward_mean - before)
            self._best[recipe.environment] = max(self._best.get(recipe.environment, 0.0), *group.rewards)

    def pass_rates(self) -> dict[str, float]:
        """Mean running pass rate per environment, over the levels seen."""
        seen: dict[str, list[float]] = {}
        for (environment, _), rate in self._rates.items():
            seen.setdefault(environment, []).append(rate)
        return {environment: sum(rates) / len(rates) for environment, rates in seen.items()}

    def best(self) -> dict[str, float]:
        """The highest reward that an own answer ever had, per environment."""
        return dict(self._best)

    def state(self) -> list[list[Any]]:
        """What a checkpoint keeps of the pass rates."""
        return [[environment, level, rate] for (environment, level), rate in sorted(self._rates.items())]

    def restore(self, state: Sequence[Sequence[Any]], best: Mapping[str, float]) -> None:
        """Take up what `state` and `best` gave."""
        self._rates = {(environment, level): rate for environment, level, rate in state}
        self._best = dict(best)


def _level(parameters: Mapping[str, Any]) -> int:
    return int(parameters.get("level", 0))
