"""What a sampler is: it says which own groups to train on, how useful a foreign one is, and how much each completion counts.

The draw itself is the same for all: weighted by usefulness and by the signer's standing, without replacement, within the quotas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from swarm.pool.candidates import Candidate
from swarm.pool.sampling.quota import NO_QUOTAS, Quotas, within
from swarm.records import ScoredGroup, TrainingGroup


@dataclass(frozen=True, slots=True)
class Budget:
    """Groups per update: `local` own ones (I) and `external` foreign ones (J)."""

    local: int
    external: int


@dataclass(frozen=True, slots=True)
class Skill:
    """What the own policy can do, per environment: its running pass rate, and the best reward that it ever had."""

    pass_rates: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Own groups, and the keys of foreign ones in the store."""

    own: tuple[ScoredGroup, ...]
    foreign: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampler:
    """`choose_own` takes up to `local` of this round's own groups, and `fills` gives the places it leaves to foreign ones.

    `usefulness` of a candidate is proportional to its chance, and 0 where nothing of it would be trained on.
    `foreign_weights` gives one weight per completion of a foreign group, which multiplies its advantage.
    """

    choose_own: Callable[[Sequence[ScoredGroup], int, Random], list[ScoredGroup]]
    fills: bool
    usefulness: Callable[[Candidate, Skill], float]
    foreign_weights: Callable[[ScoredGroup, Skill], tuple[float, ...]]

    def draw(
        self,
        own: Sequence[ScoredGroup],
        candidates: Sequence[Candidate],
        budget: Budget,
        skill: Skill,
        random: Random,
        quotas: Quotas = NO_QUOTAS,
    ) -> Drawn:
        """Own groups up to I, then foreign ones: up to J, and for a sampler that fills up to I + J in all."""
        chosen = self.choose_own(own, budget.local, random)
        left = budget.local - len(chosen) if self.fills else 0
        places = budget.external + left if budget.external else 0

        def order(candidate: Candidate) -> float:
            """A key whose order is a weighted draw without replacement (Efraimidis & Spirakis 2006)."""
            chance = self.usefulness(candidate, skill) * quotas.weights.get(candidate.signer, 1.0)
            return math.log(1 - random.random()) / chance if chance > 0 else -math.inf

        ordered = sorted([(order(each), each) for each in candidates], key=lambda pair: pair[0], reverse=True)
        allowed = (each for chance, each in ordered if chance > -math.inf)
        something_own = any(group.informative for group in chosen)
        foreign = within(allowed, places, quotas, something_own=something_own)
        return Drawn(tuple(chosen), tuple(each.key for each in foreign))


def training_group(
    group: ScoredGroup, rendering: str, weights: tuple[float, ...], *, foreign: bool, min_probability: float = 0.0
) -> TrainingGroup:
    """A drawn group as the policy wants it, under this node's own rendering of the task."""
    return TrainingGroup(
        prompt=group.task.prompts[rendering],
        completions=group.completions,
        rewards=group.rewards,
        weights=weights,
        foreign=foreign,
        token_ids=None if foreign else group.token_ids,
        min_probability=min_probability if foreign else 0.0,
    )
