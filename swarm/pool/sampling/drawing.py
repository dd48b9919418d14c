"""What a sampler is: it draws I own and J foreign groups, and says how much each completion of a drawn group counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from swarm.pool.store import Candidate
from swarm.records import ScoredGroup, TrainingGroup


@dataclass(frozen=True, slots=True)
class Budget:
    """Groups per update: `local` own ones (I) and `external` foreign ones (J)."""

    local: int
    external: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """Own groups, and the keys of foreign ones in the store."""

    own: tuple[ScoredGroup, ...]
    foreign: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampler:
    """`draw` chooses among this round's own groups and the pool's candidates; `pass_rates` tells what the own policy can do.

    `foreign_weights` gives one weight per completion of a foreign group, which multiplies its advantage.
    """

    draw: Callable[[Sequence[ScoredGroup], Sequence[Candidate], Budget, Mapping[str, float], Random], Drawn]
    foreign_weights: Callable[[ScoredGroup], tuple[float, ...]]


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
