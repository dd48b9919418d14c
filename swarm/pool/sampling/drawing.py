"""A sampler, and the draw that all samplers share.

A sampler says which own groups to train on, how useful a foreign one is, and how much each
completion counts.

The draw itself is the same for all: weighted by usefulness and by the signer's standing, without
replacement, within the quotas. What is drawn are groups, or for a sampler `by_rollout` single
completions. A group of which only some completions were drawn is still trained on as a group, the
others with weight 0: their rewards belong to the advantage.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from swarm.pool.sampling.signer_quotas import NO_QUOTAS, SignerQuotas, Weighted, within
from swarm.pool.store.candidates import Candidate
from swarm.records import Prompt, ScoredGroup, TrainingGroup


@dataclass(frozen=True, slots=True)
class Budget:
    """What one update draws: `local` own (I) and `external` foreign (J) groups, or completions.

    `group_size` is the number of completions that a foreign group is expected to have.
    """

    local: int
    external: int
    group_size: int = 1


@dataclass(frozen=True, slots=True)
class Skill:
    """This policy's running pass rate and best reward so far, per environment.

    Taken at `now_ms` (ms since 1970); a round, after which it changes, takes `round_ms`.
    """

    pass_rates: Mapping[str, float] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    now_ms: int = 0
    round_ms: float = 1000.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Own groups, and the keys of foreign ones in the store.

    With `by_rollout` also how many completions were drawn of each.
    """

    own: tuple[ScoredGroup, ...]
    foreign: tuple[int, ...]
    own_counts: tuple[int, ...] = ()
    foreign_counts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sampler:
    """The choices that make one sampler.

    `choose_own` takes up to `local` of this round's own groups; `fills` gives the places it leaves
    to foreign ones.

    `usefulness` of a candidate is proportional to its chance, and 0 where nothing of it would be
    trained on. `foreign_weights` gives one weight per completion of a foreign group, which
    multiplies its advantage. With `by_rollout` completions are drawn instead of whole groups; the
    two functions are then asked about a completion's group.

    A foreign group may be drawn `max_uses` times, so that a node of few peers fills its places;
    with more it learns a few texts by heart. `foreign_time` is the share of a round's seconds for
    training on foreign groups, which bounds J (`learner/split.py`); with 0 a round always draws J.
    """

    choose_own: Callable[[Sequence[ScoredGroup], int, Random], list[ScoredGroup]]
    fills: bool
    usefulness: Callable[[Candidate, Skill], float]
    foreign_weights: Callable[[ScoredGroup, Skill], tuple[float, ...]]
    by_rollout: bool = False
    max_uses: int = 3
    foreign_time: float = 0.75

    def draw(
        self,
        own: Sequence[ScoredGroup],
        candidates: Sequence[Candidate],
        budget: Budget,
        skill: Skill,
        random: Random,
        quotas: SignerQuotas = NO_QUOTAS,
    ) -> Drawn:
        """Draw up to I own groups and J foreign ones; a sampler that fills draws I + J in all."""
        if self.by_rollout:
            own = [group for group in own for _ in group.rewards]
            candidates = [each for each in candidates for _ in range(budget.group_size)]
        chosen = self.choose_own(own, budget.local, random)
        left = budget.local - len(chosen) if self.fills else 0
        places = budget.external + left if budget.external else 0

        chances = quotas.chances(candidates, [self.usefulness(each, skill) for each in candidates])

        def order(chance: float) -> float:
            """Sorts into a weighted draw without replacement (Efraimidis & Spirakis 2006)."""
            return math.log(1 - random.random()) / chance if chance > 0 else -math.inf

        ordered = sorted(zip(map(order, chances), candidates, strict=True), key=lambda pair: pair[0], reverse=True)
        allowed = [each for chance, each in ordered if chance > -math.inf]
        something_own = any(group.informative for group in chosen)
        foreign = within(allowed, places, quotas, something_own=something_own)
        keys = tuple(each.key for each in foreign)
        if not self.by_rollout:
            return Drawn(tuple(chosen), keys)
        of_own, of_foreign = Counter(chosen), Counter(keys)
        return Drawn(tuple(of_own), tuple(of_foreign), tuple(of_own.values()), of_foreign)

    def weights(
        self, drawn: Drawn, foreign: Sequence[tuple[int, ScoredGroup]], skill: Skill, random: Random
    ) -> tuple[list[Weighted], list[Weighted]]:
        """Weigh the completions of the drawn own groups, and of the `foreign` ones (key, group)."""
        own = [Weighted(group, (1.0,) * len(group.rewards)) for group in drawn.own]
        others = [Weighted(group, self.foreign_weights(group, skill)) for _, group in foreign]
        if not self.by_rollout:
            return own, others
        counts = [drawn.foreign_counts[key] for key, _ in foreign]
        return _only(own, drawn.own_counts, random), _only(others, counts, random)


def _only(groups: Sequence[Weighted], counts: Sequence[int], random: Random) -> list[Weighted]:
    """Keep the weights of `counts` completions of each group, drawn uniformly; zero the others."""
    kept = []
    for each, count in zip(groups, counts, strict=True):
        having = [place for place, weight in enumerate(each.weights) if weight]
        drawn = set(random.sample(having, min(count, len(having))))
        weights = tuple(weight if place in drawn else 0.0 for place, weight in enumerate(each.weights))
        kept.append(Weighted(each.group, weights))
    return kept


@dataclass(frozen=True, slots=True)
class Screen:
    """What of foreign text is trained on, see `TrainingGroup`."""

    min_probability: float = 0.0
    max_tokens: int = 0


def training_group(group: ScoredGroup, prompt: Prompt, weights: tuple[float, ...], screen: Screen | None = None) -> TrainingGroup:
    """A drawn group for the policy, a foreign one with its `screen`; `prompt` is how this node
    shows the task to its own policy."""
    return TrainingGroup(
        prompt=prompt,
        completions=group.completions,
        rewards=group.rewards,
        weights=weights,
        foreign=screen is not None,
        token_ids=None if screen is not None else group.token_ids,
        min_probability=screen.min_probability if screen else 0.0,
        max_tokens=screen.max_tokens if screen else 0,
    )
