"""What a node pays until a target accuracy: `python -m benchmarks.efficiency [--target 0.55]`.

In swarms of growing size, and with `--opponent` for a lone node at its best. Every run ends once
the nodes' mean held-out accuracy is the target. Rounds, generated tokens per node and CPU seconds
per node (all processes of the run, network and admission included, evaluation left out) are read
off the curve where it crosses the target, between the two measurements beside it. Efficiency is
(tokens of a node alone / tokens of a node among N) / N; the ideal is 1.

The honest opponent is a lone node that oversamples and filters: it generates more groups than it
trains on, and trains on informative ones. Its best setting reaches the target with the least CPU.
Writes efficiency.json; a run that was cut off resumes with the same options.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.experiment.cases import OVERSAMPLING, Case, lone_settings
from benchmarks.experiment.program import WholeNumbers, add_settings, end, given, positive, show, table_parser
from benchmarks.experiment.runs import make_rows
from benchmarks.experiment.table import KEPT, Report, shown, summary
from swarm.home import storage


@dataclass(frozen=True, slots=True)
class Cost:
    """What one node pays until the target; `cpu_s` is None where the system does not tell."""

    rounds: float
    tokens: float
    cpu_s: float | None


def cost(report: Report, target: float) -> Cost | None:
    """Return the cost where the curve first crosses the target; None for a run that never did."""
    curve = report["curve"]
    points = [(report["eval_before"], 0, 0.0, 0.0)]
    points += zip(curve["accuracy"], curve["rounds"], curve["generated_tokens"], curve["cpu_s"], strict=True)
    for (low, *before), (high, *after) in pairwise(points):
        if low < target <= high:
            part = (target - low) / (high - low)
            between = [None if y is None else x + part * (y - x) for x, y in zip(before, after, strict=True)]
            return Cost(*between)
    return None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the missing runs, write efficiency.json, and return its content."""
    settings: dict[tuple[int, str], Mapping[str, str]] = {(number, "defaults"): given(options) for number in options.nodes}
    if options.opponent:
        settings |= {(1, f"lone {per_round}:{local}"): lone_settings(per_round, local) for per_round, local in OVERSAMPLING}
    rows = {
        (number, name): [
            Case(row, number, options.rounds, seed, options.every, options.target).command() for seed in options.seeds
        ]
        for (number, name), row in settings.items()
    }
    reports = make_rows(rows, options.out / "runs.jsonl", KEPT, options.jobs)
    costs = {key: [cost(report, options.target) for report in row] for key, row in reports.items()}
    result = table(costs, options.target, options.seeds)
    with storage(options.out):
        (options.out / "efficiency.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def table(costs: Mapping[tuple[int, str], Sequence[Cost | None]], target: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Average over seeds, per number of nodes and setting; no figures where a seed failed."""
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
    """Return the table's rows as people read them."""
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


def _accuracy(text: str) -> float:
    accuracy = float(text)
    if not 0 < accuracy <= 1:
        raise argparse.ArgumentTypeError("give an accuracy above 0 and up to 1")
    return accuracy


def main(words: Sequence[str] | None = None) -> None:
    """Measure what `words` (the command line) ask for, and print it."""
    parser = table_parser(__doc__, "bench-efficiency")
    parser.add_argument("--nodes", nargs="+", action=WholeNumbers, default=[1, 2, 4, 8, 16], help="sizes of the swarm")
    parser.add_argument("--target", type=_accuracy, default=0.55, help="mean held-out accuracy to reach (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=400, help="rounds after which a run is given up")
    parser.add_argument("--every", type=positive, default=5, help="rounds between measurements")
    parser.add_argument("--opponent", action="store_true", help="also a lone node that oversamples and filters")
    add_settings(parser, "the nodes in a swarm")
    options = parser.parse_args(words)
    result = measure(options)
    show(result, lines(result), options)


if __name__ == "__main__":
    end(main)
