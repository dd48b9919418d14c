"""The curriculum: chooses environments and levels by how much they can teach now.

A group teaches by the spread of its rewards, which for a pass rate p is p(1 - p): nothing if all
answers are right or all are wrong, most at a half. An *arm* is an environment at one level. Its
worth is the expected promise of its next group.

*Evidence.* Own groups count in full. An informative group promises one half for that, and up to
another for its spread 4p(1 - p): an arm with a pass rate near 1 is nearly solved. Evidence fades by
half in `HALF_LIFE` rounds, since each round's update moves the policy.

A node of few groups a round cannot try dozens of arms in that time, so it listens to others. Only
their informative groups travel, so these tell where to look, never where not to. A signer's groups
of one round count together as at most `OTHER` of an own round, those of one arm as at most `OTHER`
of an own group, and all signers' as one own round. So a flood of one arm says no more than a group.
A peer that sends groups of a hopeless arm makes a node look there until the node's own groups
outweigh them: with two groups a round that is a few percent of its proposals (tests/roles).

*Choice.* Within an environment the better level is drawn mostly. Environments are drawn in
proportion to a mild power of their expected worth, none with more than `MOST` times an even share.
The cap is for verifiers that reward half an answer, whose groups are always informative. A swarm
that proposes little else learns less elsewhere than one that draws uniformly (docs/lab-log.md). A
`FLOOR` of all proposals falls on all arms alike, so that solved or hopeless arms are tried again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from random import Random
from typing import Any

from swarm.records import ScoredGroup, Task

Arm = tuple[str, int]
# Per arm the sum of its groups' promises and their number, both faded.
Evidence = dict[Arm, tuple[float, float]]
NOTHING = (0.0, 0.0)

# Weight of the newest group in the running pass rate: about the last seven groups count.
RATE = 0.15
UNKNOWN = 0.5
# Rounds with own groups after which evidence counts half.
HALF_LIFE = 6.0
# Weight, in own groups, of the worth `UNKNOWN` that every arm starts with.
PRIOR = 0.5
# Levels of an environment, and environments, are drawn in proportion to these powers of the worth.
OF_LEVELS = 16.0
OF_ENVIRONMENTS = 3.0
# An environment's share of the proposals is at most this many times an even one.
MOST = 1.5
FLOOR = 0.1
# Keeps powers above 0, so that the excess of a capped environment can always go to another.
TINY = 1e-100
# Weight of a signer's groups of one round, at most, relative to an own round.
OTHER = 1 / 8


class Curriculum:
    """Running pass rates and worths of `arms`; if not `adaptive`, all arms are equally likely."""

    def __init__(self, arms: Sequence[Arm], *, adaptive: bool) -> None:
        self._arms = tuple(arms)
        self._adaptive = adaptive
        self._rates: dict[Arm, float] = {}
        self._best: dict[str, float] = {}
        self._seen: Evidence = {}
        self._heard: dict[bytes, Evidence] = {}

    def choose(self, random: Random) -> Arm:
        """Draw the environment and level of one task."""
        return _drawn(self._chances(), random)

    def another(self, arm: Arm, random: Random) -> Arm:
        """Draw a level of the same environment, for an alternative to a task of `arm`."""
        return _drawn({each: chance for each, chance in self._chances().items() if each[0] == arm[0]}, random)

    def proposing(self) -> dict[str, list[float]]:
        """Return per environment the probabilities of its levels, ascending; they all sum to 1."""
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
        """Take in admitted foreign groups; they count from the next `observe` on.

        An honest node shares no groups whose rewards are all equal, and whoever does is not to say
        that an arm is hopeless.
        """
        for group in groups:
            if group.informative and arm_of(group.task) in self._arms:
                _count(self._heard.setdefault(group.signer, {}), arm_of(group.task), promise(group), 1.0)

    def observe(self, groups: Sequence[ScoredGroup]) -> None:
        """Count a round's own groups, and the foreign groups heard since the last call."""
        if not groups:
            return
        fading = math.exp2(-1 / HALF_LIFE)
        self._seen = {arm: (promises * fading, seen * fading) for arm, (promises, seen) in self._seen.items()}
        for theirs in self._heard.values():
            sent = sum(seen for _, seen in theirs.values())
            weight = min(OTHER, 1 / len(self._heard)) * min(1.0, len(groups) / sent)
            for arm, (promises, seen) in theirs.items():
                each = min(weight, OTHER / seen)
                _count(self._seen, arm, each * promises, each * seen)
        self._heard = {}
        for group in groups:
            arm = arm_of(group.task)
            _count(self._seen, arm, promise(group), 1.0)
            before = self._rates.get(arm, UNKNOWN)
            self._rates[arm] = before + RATE * (group.reward_mean - before)
            self._best[arm[0]] = max(self._best.get(arm[0], 0.0), *group.rewards)

    def pass_over(self, tasks: Iterable[Task]) -> None:
        """Count tasks that cannot be answered as groups that promise nothing."""
        for task in tasks:
            _count(self._seen, arm_of(task), 0.0, 1.0)

    def pass_rates(self) -> dict[str, float]:
        """Return the mean running pass rate per environment, over the levels seen."""
        seen: dict[str, list[float]] = {}
        for (environment, _), rate in self._rates.items():
            seen.setdefault(environment, []).append(rate)
        return {environment: sum(rates) / len(rates) for environment, rates in seen.items()}

    def best(self) -> dict[str, float]:
        """Return the highest reward of an own answer, per environment."""
        return dict(self._best)

    def state(self) -> list[list[Any]]:
        """Return the rows of a checkpoint: environment, level, pass rate, promises, groups.

        The pass rate is None for an arm without own groups.
        """
        arms = sorted({*self._rates, *self._seen})
        return [[*arm, self._rates.get(arm), *self._seen.get(arm, NOTHING)] for arm in arms]

    def restore(self, state: Sequence[Sequence[Any]], best: Mapping[str, float]) -> None:
        """Restore the results of `state` and `best`; the first versions' rows end at the rate."""
        self._rates = {(environment, level): rate for environment, level, rate, *_ in state if rate is not None}
        self._seen = {(environment, level): (seen[0], seen[1]) for environment, level, _, *seen in state if seen}
        self._best = dict(best)
        self._heard = {}


def chances(worths: Mapping[Arm, float]) -> dict[Arm, float]:
    """Return the probabilities of arms with these worths (above 0); they sum to 1.

    Arms of one environment are its levels.
    """
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
    """Cut shares above `most` down to it and raise the others in proportion; the sum stays 1."""
    order = sorted(range(len(shares)), key=lambda position: shares[position])
    cut: list[int] = []
    # From the greatest on: whether a share has to be cut depends on the greater ones.
    while most < 1:
        factor = (1 - most * len(cut)) / sum(shares[position] for position in order)
        if shares[order[-1]] * factor <= most:
            return [most if position in cut else share * factor for position, share in enumerate(shares)]
        cut.append(order.pop())
    return list(shares)


def promise(group: ScoredGroup) -> float:
    """Return a group's promise for the next one of its arm, 0 to 1.

    It is 0 for an uninformative group, else higher the nearer the mean reward is to a half.
    """
    mean = min(max(group.reward_mean, 0.0), 1.0)
    return (group.informative + 4 * mean * (1 - mean)) / 2 if group.informative else 0.0


def arm_of(task: Task) -> Arm:
    """Return the environment and level of a task."""
    recipe = task.recipe
    return recipe.environment, int(dict(recipe.parameters).get("level", 0))


def _count(evidence: Evidence, arm: Arm, promises: float, groups: float) -> None:
    before = evidence.get(arm, NOTHING)
    evidence[arm] = before[0] + promises, before[1] + groups
