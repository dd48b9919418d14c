"""Compares how many held-out tasks the base model and a checkpoint solve, with intervals, and keeps
the results.

Accuracy is the share of tasks that are solved, that is, rewarded with 1. Its 95 % interval is
Wilson's for a share. The tasks are the same before and after, so the numbers `won` and `lost` say
more about the change than two intervals do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarm.home import Home, storage, write_atomically

Z = 1.959964  # of the normal distribution, for 95 %
ALL = "all"
KEPT = 100  # results remembered in a home


@dataclass(frozen=True, slots=True)
class SolvedShare:
    """`solved` of `tasks`, as a share with its 95 % interval."""

    tasks: int
    solved: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One environment: the base model, the checkpoint (None without one), and on how many tasks
    they differ."""

    environment: str
    base: SolvedShare
    now: SolvedShare | None
    won: int
    lost: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A measured policy: `step` and `digest` (hex) are the checkpoint's, or the base model's.

    The last comparison is over all environments.
    """

    model: str
    step: int
    digest: str
    swarm: str
    rendering: str
    comparisons: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return asdict(self)


def wilson(right: int, count: int) -> SolvedShare:
    """Return the share `right / count` with Wilson's score interval, which also holds near 0 and 1
    and for few tasks."""
    share, square = right / count, Z * Z / count
    centre = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return SolvedShare(count, right, share, max(0.0, centre - half), min(1.0, centre + half))


def compare(base: Mapping[str, Sequence[bool]], now: Mapping[str, Sequence[bool]] | None) -> tuple[Comparison, ...]:
    """Compare each environment, and then all tasks together."""
    before = {**base, ALL: [right for each in base.values() for right in each]}
    after = None if now is None else {**now, ALL: [right for name in base for right in now[name]]}
    return tuple(_compare(name, before[name], None if after is None else after[name]) for name in before)


def _compare(environment: str, base: Sequence[bool], now: Sequence[bool] | None) -> Comparison:
    pairs = list(zip(base, base if now is None else now, strict=True))
    return Comparison(
        environment,
        base=wilson(sum(base), len(base)),
        now=None if now is None else wilson(sum(now), len(now)),
        won=sum(is_ and not was for was, is_ in pairs),
        lost=sum(was and not is_ for was, is_ in pairs),
    )


def remember(home: Home, evaluation: Evaluation) -> None:
    """Keep a result in the home, in place of an older result of the same weights."""
    known = [each for each in known_evaluations(home) if each["digest"] != evaluation.digest]
    write_atomically(home.evaluations, json.dumps([*known, evaluation.to_json()][-KEPT:]).encode())


def known_evaluations(home: Home) -> list[dict[str, Any]]:
    """Return the results kept in the home, oldest first, as `Evaluation.to_json` gives them."""
    with storage(home.path):
        if not home.evaluations.exists():
            return []
        try:
            return list(json.loads(home.evaluations.read_bytes()))
        except (ValueError, TypeError):
            return []  # damaged: it can be measured again
