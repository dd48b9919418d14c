"""What to propose: environments and levels by what can be learned from them now.

A group teaches by the spread of its rewards, which for a pass rate p is p(1 - p): nothing where every answer is right or
every answer is wrong, most at a half. An *arm* is an environment at one level; its worth is what the next group of it promises.

*Evidence.* Own groups count in full. An informative one promises half for that, half for its spread 4p(1 - p): of two arms whose
last groups were informative, the one with a pass rate near 1 is nearly solved. It fades by half in `HALF_LIFE` rounds, since
each round's update moves the policy. A node of few groups a round cannot try some dozens of arms before that, so it
listens to others. Only their informative groups travel, so these tell where to look, never where not to. A signer's groups of
one round count together as an `OTHER`th of an own round at most, however many it sends, and all signers' as one own
round. Whoever sends groups of a hopeless arm makes a node look there until its own groups, which say no, outweigh that: with two
groups a round a few percent of its proposals (tests/roles).

*Choice.* Within an environment the better level mostly. Environments in proportion to a mild power of what is to be expected
there, and none with more than `MOST` times an even share: verifiers that give part of the reward for half an answer make
groups that are always informative, and a swarm that proposes little else learns less of all the rest than one that
draws uniformly (docs/lab-log.md). A `FLOOR` of all proposals falls on all arms alike, so that what was solved or
hopeless once is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
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
# Rounds, with own groups, after which evidence counts half.
HALF_LIFE = 6.0
# Own groups that the worth assumed of an arm without evidence, `UNKNOWN`, counts as.
PRIOR = 0.5
# Powers of the worth that the levels of an environment, and the environments, are proposed in proportion to.
OF_LEVELS = 16.0
OF_ENVIRONMENTS = 3.0
# An environment's share of the proposals is at most so many times an even one.
MOST = 1.5
FLOOR = 0.1
# Keeps powers from vanishing, so that what is cut off one environment can always be given to another.
TINY = 1e-100
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
        return _drawn(self._chances(), random)

    def another(self, arm: Arm, random: Random) -> Arm:
        """A level of the same environment, for an alternative to a task of `arm`."""
        return _drawn({each: chance for each, chance in self._chances().items() if each[0] == arm[0]}, random)

    def proposing(self) -> dict[str, list[float]]:
        """For each environment the probabilities of its levels, ascending, to be proposed next; all of them sum to 1."""
        shares: dict[str, list[float]] = {}
        for (environment, _), chance in self._chances().items():
            shares.setdefault(environment, []).append(round(chance, 4))
        return shares

    def _chances(self) -> dict[Arm, float]:
        if not self._adaptive:
            return dict.fromkeys(self._arms, 1 / len(self._arms))
        return chances({arm: self._worth(arm) for arm in self._arms})

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


def chances(worths: Mapping[Arm, float]) -> dict[Arm, float]:
    """Probabilities of arms with these worths (above 0), which sum to 1; arms of one environment stand for its levels."""
    levels: dict[str, list[Arm]] = {}
    for arm in worths:
        levels.setdefault(arm[0], []).append(arm)
    within = {name: _sharpened([worths[arm] for arm in arms], OF_LEVELS) for name, arms in levels.items()}
    expected = [sum(map(mul, within[name], (worths[arm] for arm in arms))) for name, arms in levels.items()]
    shares = _at_most(_sharpened(expected, OF_ENVIRONMENTS), MOST / len(levels))
    return {
        arm: (1 - FLOOR) * share * part + FLOOR / len(worths)
        for (name, arms), share in zip(levels.items(), shares, strict=True)
        for arm, part in zip(arms, within[name], strict=True)
    }


def _drawn(chances: Mapping[Arm, float], random: Random) -> Arm:
    return random.choices(list(chances), list(chances.values()))[0]


def _sharpened(worths: Sequence[float], power: float) -> list[float]:
    most = max(worths)
    sharp = [max((worth / most) ** power, TINY) for worth in worths]
    return [each / sum(sharp) for each in sharp]


def _at_most(shares: Sequence[float], most: float) -> list[float]:
    """Shares that sum to 1, those above `most` cut down to it and the others raised in proportion."""
    order = sorted(range(len(shares)), key=lambda position: shares[position])
    cut: list[int] = []
    # From the greatest on: whether a share has to be cut depends on those that were.
    while most < 1:
        factor = (1 - most * len(cut)) / sum(shares[position] for position in order)
        if shares[order[-1]] * factor <= most:
            return [most if position in cut else share * factor for position, share in enumerate(shares)]
        cut.append(order.pop())
    return list(shares)


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
