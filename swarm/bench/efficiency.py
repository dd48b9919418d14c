"""`swarmd bench efficiency`: what a node pays until a target accuracy, in swarms of growing size and for a lone node at its best.

Every run ends once the nodes' mean held-out accuracy is the target. Rounds, generated tokens per node and CPU seconds per node
(all processes of the run, network and admission included, evaluation left out) are read off the curve where it crosses the
target, between the two measurements beside it. Efficiency is (tokens of a node alone / tokens of a node among N) / N.

The honest opponent is a lone node that oversamples and filters: it generates more groups than it trains on, and trains on
informative ones. Its best setting is the one that reaches the target with the least CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from swarm.bench.cases import OVERSAMPLING, Case, lone_settings
from swarm.bench.runs import make
from swarm.bench.table import KEPT, Report, shown, summary
from swarm.home import storage


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one node until the target."""

    rounds: float
    tokens: float
    cpu_s: float | None


def cost(report: Report, target: float) -> Cost | None:
    """Where the curve first crosses the target; None for a run that did not reach it."""
    curve = report["curve"]
    points = [(report["eval_before"], 0, 0.0, 0.0)]
    points += zip(curve["accuracy"], curve["rounds"], curve["generated_tokens"], curve["cpu_s"], strict=True)
    for (low, *before), (high, *after) in pairwise(points):
        if low < target <= high:
            part = (target - low) / (high - low)
            between = [None if y is None else x + part * (y - x) for x, y in zip(before, after, strict=True)]
            return Cost(*between)
    return None


def bench_efficiency(
    directory: Path,
    seeds: Sequence[int],
    nodes: Sequence[int],
    target: float,
    rounds: int,
    every: int,
    overrides: Mapping[str, str],
    jobs: int,
    say: Callable[[str], None],
    *,
    opponent: bool,
) -> dict[str, Any]:
    """Make what is missing, write efficiency.json, and return its content. A run is given up after `rounds` rounds."""
    settings: dict[tuple[int, str], Mapping[str, str]] = {(number, "defaults"): overrides for number in nodes}
    if opponent:
        settings |= {(1, f"lone {per_round}:{local}"): lone_settings(per_round, local) for per_round, local in OVERSAMPLING}
    cases = {key: [Case(row, key[0], rounds, seed, every, target).arguments() for seed in seeds] for key, row in settings.items()}
    commands = [row[number] for number in range(len(seeds)) for row in cases.values()]
    runs = make(commands, directory / "runs.jsonl", KEPT, jobs, say)
    costs = {key: [cost(runs[tuple(command)], target) for command in row] for key, row in cases.items()}
    result = table(costs, target, seeds)
    with storage(directory):
        (directory / "efficiency.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def table(costs: Mapping[tuple[int, str], Sequence[Cost | None]], target: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Per number of nodes and setting the mean over seeds; what not every seed reached has no figures."""
    alone = costs.get((1, "defaults"))
    lone = {name: each for (_, name), each in costs.items() if name != "defaults"}
    best = min(
        (name for name, each in lone.items() if _mean_cpu(each) is not None),
        key=lambda name: _mean_cpu(lone[name]) or 0.0,
        default=None,
    )
    rows = []
    for (number, name), each in costs.items():
        row: dict[str, Any] = {"nodes": number, "settings": name, "reached": sum(cost is not None for cost in each)}
        known = [cost for cost in each if cost is not None]
        if len(known) == len(each):
            row |= {part: summary([getattr(cost, part) for cost in known]) for part in ("rounds", "tokens", "cpu_s")}
            pairs = [(one, some) for one, some in zip(alone or (), known, strict=False) if one is not None]
            if name == "defaults" and len(pairs) == len(known):
                fewer = [one.tokens / some.tokens for one, some in pairs]
                row |= {"fewer_tokens": summary(fewer), "efficiency": summary([times / number for times in fewer])}
            if best is not None:
                row["cpu_of_best_lone"] = summary(_ratios(known, lone[best]))
        rows.append(row)
    return {"target": target, "seeds": list(seeds), "rows": rows, "best_lone": best}


def _ratios(ours: Sequence[Cost], theirs: Sequence[Cost | None]) -> list[float | None]:
    return [
        one.cpu_s / other.cpu_s if other is not None and one.cpu_s is not None and other.cpu_s else None
        for one, other in zip(ours, theirs, strict=True)
    ]


def _mean_cpu(costs: Sequence[Cost | None]) -> float | None:
    known = [cost.cpu_s for cost in costs if cost is not None and cost.cpu_s is not None]
    return sum(known) / len(known) if len(known) == len(costs) else None


def lines(result: dict[str, Any]) -> list[dict[str, str]]:
    """The table as people read it."""
    return [
        {
            "nodes": str(row["nodes"]),
            "settings": row["settings"] + (" (best)" if row["settings"] == result["best_lone"] else ""),
            "reached": f"{row['reached']}/{len(result['seeds'])}",
            "rounds": shown(row.get("rounds"), 1),
            "tokens": shown(row.get("tokens"), 0),
            "CPU s": shown(row.get("cpu_s"), 2),
            "fewer tokens": shown(row.get("fewer_tokens"), 2),
            "efficiency": shown(row.get("efficiency"), 2),
            "CPU of best lone": shown(row.get("cpu_of_best_lone"), 2),
        }
        for row in result["rows"]
    ]
