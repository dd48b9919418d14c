"""`swarmd bench swarm`: the paper's controlled experiment on the embedded model, and the same generation with our defaults."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from swarm.bench.cases import PAPER, REFERENCE, ROLLOUTS, Case, chosen, marks
from swarm.bench.plots import draw
from swarm.bench.runs import make
from swarm.bench.table import KEPT, figures, shown, summaries
from swarm.errors import ConfigError
from swarm.home import storage


def bench_swarm(
    directory: Path, seeds: Sequence[int], nodes: int, rounds: int, rows: Sequence[str], jobs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Make what is missing, write table.json and the plots, and return table.json's content.

    Raises `ConfigError` for a row that is unknown.
    """
    settings = chosen([REFERENCE, *rows] if rows else [])
    if unknown := set(rows) - settings.keys():
        raise ConfigError(f"there is no configuration {', '.join(sorted(unknown))}; there are {', '.join(chosen([]))}")
    cases = {name: [Case(row, nodes, rounds, seed, marks(rounds)) for seed in seeds] for name, row in settings.items()}
    # Seed by seed, so that a benchmark that is stopped early can compare what it has.
    commands = [each[number].arguments() for number in range(len(seeds)) for each in cases.values()]
    runs = make(commands, directory / "runs.jsonl", KEPT, jobs, say)
    reports = {name: [runs[tuple(case.arguments())] for case in row] for name, row in cases.items()}
    paper = {f"{ROLLOUTS - external}/{external}": reward / PAPER[0] for external, reward in PAPER.items()}
    table = {
        "nodes": nodes,
        "rounds": rounds,
        "seeds": list(seeds),
        "rows": {
            name: {
                "settings": dict(settings[name]),
                "paper_ratio": round(paper[name], 3) if name in paper else None,
                **summaries([figures(*pair) for pair in zip(row, reports[REFERENCE], strict=True)]),
            }
            for name, row in reports.items()
        },
    }
    with storage(directory):
        (directory / "table.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        draw(directory, reports)
    return table


def lines(table: dict[str, Any]) -> list[dict[str, str]]:
    """The table as people read it."""
    return [
        {
            "local / external": name,
            "cumulative reward": shown(row["reward"], 2),
            "against 8/0": shown(row["ratio"], 2),
            "paper": "-" if row["paper_ratio"] is None else f"{row['paper_ratio']:.2f}",
            "accuracy": shown(row["accuracy"]),
            "area": shown(row["area"]),
            "drop": shown(row["drop"]),
            "zero advantage": shown(row["zero_advantage"], 2),
        }
        for name, row in table["rows"].items()
    ]
