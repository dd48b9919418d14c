"""What to propose: environments and levels in proportion to what can be learned from them now.

A group teaches by the spread of its rewards, which for a pass rate p is p(1 - p): nothing where every answer is right or
every answer is wrong, most at a half. An *arm* is an environment at one level. Its worth is the share of informative groups
to be expected of it, and it is proposed with a probability that grows steeply with that worth. Three things make it up:

- Own groups count in full. One that is informative promises half for that, half for its spread 4p(1 - p): of two arms whose
  last groups were informative, the one with a pass rate near 1 is nearly solved. Evidence fades by half in `HALF_LIFE` rounds,
  since each round's update moves the policy.
- A node of few groups a round cannot try some dozens of arms before the policy has changed, so it listens to others. Only their
  informative groups travel, so these tell where to look, never where not to. All others together count at most as much as this
  node itself, none more than an `OTHER`th of that however much it sends, and a sender of chosen groups steers a node
  only until its own groups there have shown what they are worth.
- `FLOOR` of all proposals fall on all arms alike, so that what was solved or hopeless once is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from swarm.records import ScoredGroup

Arm = tuple[str, int]
# Per arm the sum of its groups' promises and their number, both faded.
Evidence = dict[Arm, tuple[float, float]]
NOTHING = (0.0, 0.0)

# Weight of the newest group in the running pass rate: about the last seven groups count.
RATE = 0.15
UNKNOWN = 0.5
# Rounds after which evidence counts half.
HALF_LIFE = 10.0
# Own groups that the worth assumed of an arm without evidence, `UNKNOWN`, counts as.
PRIOR = 1.0
SHARPNESS = 8.0
FLOOR = 0.1
# A signer's groups of one round count as own ones by this part at most.
OTHER = 1 / 8


class Curriculum:
    """Running pass rates and worths over `arms`; with `adaptive` off all arms are equally likely."""

    def __init__(self, arms: Sequence[Arm], *, adaptive: bool) -> None:
        self._arms = tuple(arms)
        self._adaptive = adaptive
        self._rates: dict[Arm, float] = {}
        self._best: dict[str, float] = {}
        self._seen: Evidence = {}
        self._heard: dict[bytes, Evidence] = {}

    def choose(self, random: Random) -> Arm:
        """The environment and level of one task."""
        if not self._adaptive:
            return random.choice(self._arms)
        return random.choices(self._arms, self._chances())[0]

    def proposing(self) -> dict[str, list[float]]:
        """For each environment the probabilities of its levels, ascending, to be proposed next; all of them sum to 1."""
        shares: dict[str, list[float]] = {}
        for (environment, _), chance in zip(self._arms, self._chances(), strict=True):
            shares.setdefault(environment, []).append(round(chance, 4))
        return shares

    def _chances(self) -> list[float]:
        return chances([self._worth(arm) if self._adaptive else 1.0 for arm in self._arms])

    def _worth(self, arm: Arm) -> float:
        promises, groups = self._seen.get(arm, NOTHING)
        return (promises + PRIOR * UNKNOWN) / (groups + PRIOR)

    def hear(self, groups: Iterable[ScoredGroup]) -> None:
        """Foreign groups that were admitted; they count from the next `observe` on."""
        for group in groups:
            if arm_of(group) in self._arms:
                _count(self._heard.setdefault(group.signer, {}), arm_of(group), promise(group), 1.0)

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Learn from a round's own groups what the own policy can do, and from those heard since the last what others can."""
        if not groups:
            return
        fading = math.exp2(-1 / HALF_LIFE)
        self._seen = {arm: (promises * fading, seen * fading) for arm, (promises, seen) in self._seen.items()}
        for theirs in self._heard.values():
            sent = sum(seen for _, seen in theirs.values())
            weight = min(OTHER, 1 / len(self._heard)) * min(1.0, len(groups) / sent)
            for arm, (promises, seen) in theirs.items():
                _count(self._seen, arm, weight * promises, weight * seen)
        self._heard = {}
        for group in groups:
            arm = arm_of(group)
            _count(self._seen, arm, promise(group), 1.0)
            before = self._rates.get(arm, UNKNOWN)
            self._rates[arm] = before + RATE * (group.reward_mean - before)
            self._best[arm[0]] = max(self._best.get(arm[0], 0.0), *group.rewards)

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
        """What a checkpoint keeps: environment, level, own pass rate (None without own groups), promises, groups."""
        arms = sorted({*self._rates, *self._seen})
        return [[*arm, self._rates.get(arm), *self._seen.get(arm, NOTHING)] for arm in arms]

    def restore(self, state: Sequence[Sequence[Any]], best: Mapping[str, float]) -> None:
        """Take up what `state` and `best` gave; rows of the first versions end with the pass rate."""
        self._rates = {(environment, level): rate for environment, level, rate, *_ in state if rate is not None}
        self._seen = {(environment, level): (seen[0], seen[1]) for environment, level, _, *seen in state if seen}
        self._best = dict(best)
        self._heard = {}


def chances(worths: Sequence[float]) -> list[float]:
    """Probabilities that sum to 1: all but `FLOOR` in proportion to a power of the worths (above 0), the rest evenly."""
    most = max(worths)
    sharp = [(worth / most) ** SHARPNESS for worth in worths]
    return [(1 - FLOOR) * each / sum(sharp) + FLOOR / len(worths) for each in sharp]


def promise(group: ScoredGroup) -> float:
    """What a group tells of the next one of its arm, 0 to 1: whether it was informative, and how near its mean is to a half."""
    mean = min(max(group.reward_mean, 0.0), 1.0)
    return (group.informative + 4 * mean * (1 - mean)) / 2 if group.informative else 0.0


def arm_of(group: ScoredGroup) -> Arm:
    """The environment and level of a group's task."""
    recipe = group.task.recipe
    return recipe.environment, int(dict(recipe.parameters).get("level", 0))


def _count(evidence: Evidence, arm: Arm, promises: float, groups: float) -> None:
    before = evidence.get(arm, NOTHING)
    evidence[arm] = before[0] + promises, before[1] + groups
