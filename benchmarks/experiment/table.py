"""From reports to figures: those of each run, and their mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

Report = Mapping[str, Any]
# What of a report is kept for the figures and the plots.
KEPT = (
    "wall_s", "eval_before", "eval_after", "cumulative_reward", "reward_per_round", "curve", "generated_tokens",
    "zero_advantage_share", "groups_trained_own", "groups_trained_foreign", "rounds_per_node", "digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Rewards are per node; accuracies are on held-out prompts.

    `ratio` compares the cumulative reward with the same seed's reference. `area` is the mean height
    of the accuracy's curve, and `drop` its deepest fall (oscillation, forgetting).
    """

    reward: float
    ratio: float
    accuracy: float
    area: float
    drop: float
    zero_advantage: float


def figures(report: Report, reference: Report) -> Figures:
    """Read the figures off one run, beside the reference of the same seed."""
    points = curve(report)
    rounds = points[-1][0] - points[0][0]
    area = sum((later - earlier) * (low + high) / 2 for (earlier, low), (later, high) in pairwise(points))
    return Figures(
        reward=report["cumulative_reward"],
        ratio=report["cumulative_reward"] / reference["cumulative_reward"],
        accuracy=points[-1][1],
        area=area / rounds,
        drop=drop(report),
        zero_advantage=report["zero_advantage_share"],
    )


def drop(report: Report) -> float:
    """Return the deepest fall of held-out accuracy below an earlier value."""
    heights = [height for _, height in curve(report)]
    return max(most - height for most, height in zip(accumulate(heights, max), heights, strict=True))


def curve(report: Report) -> list[tuple[int, float]]:
    """Return (rounds, held-out accuracy) pairs, from before the first round on."""
    return [(0, report["eval_before"]), *zip(report["curve"]["rounds"], report["curve"]["accuracy"], strict=True)]


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return mean, standard deviation and values; None if all values are None."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "mean": round(statistics.mean(known), 4),
        "spread": round(statistics.stdev(known), 4) if len(known) > 1 else None,
        "values": [round(value, 4) for value in known],
    }


def summaries(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> dict[str, Any]:
    """Summarise the figures called `names`, by default all, over rows of one per seed."""
    return {name: summary([row[name] for row in rows]) for name in names or rows[0]}


def shown(measured: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return mean and spread as people read them."""
    if measured is None:
        return "-"
    spread = "" if measured["spread"] is None else f" ± {measured['spread']:.{digits}f}"
    return f"{measured['mean']:.{digits}f}{spread}"
