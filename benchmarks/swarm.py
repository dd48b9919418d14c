"""The paper's controlled experiment beside our defaults: `python -m benchmarks.swarm`.

Of 8 rollouts that train per round I are a node's own and J foreign: 8/0, 6/2, 4/4, 2/6; then this
project's defaults and the same node alone. Every node generates 8 answers to one question a round.
Writes table.json and a plot per row; a run that was cut off resumes with the same options.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.experiment.cases import PAPER, REFERENCE, ROLLOUTS, SWARM, Case, marks
from benchmarks.experiment.learning_curves import draw
from benchmarks.experiment.program import end, positive, show, table_parser
from benchmarks.experiment.runs import make_rows
from benchmarks.experiment.table import KEPT, figures, shown, summaries
from swarm.errors import ConfigError
from swarm.home import storage


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Make the missing runs, write table.json and the plots, and return table.json's content.

    Raises `ConfigError` for a row that is unknown.
    """
    asked = [name for name in options.rows.split(",") if name]
    if unknown := set(asked) - SWARM.keys():
        raise ConfigError(f"there is no configuration {', '.join(sorted(unknown))}; there are {', '.join(SWARM)}")
    settings = {name: row for name, row in SWARM.items() if not asked or name in (REFERENCE, *asked)}
    rows = {
        name: [Case(row, options.nodes, options.rounds, seed, marks(options.rounds)).command() for seed in options.seeds]
        for name, row in settings.items()
    }
    reports = make_rows(rows, options.out / "runs.jsonl", KEPT, options.jobs)
    paper = {f"{ROLLOUTS - external}/{external}": reward / PAPER[0] for external, reward in PAPER.items()}
    table = {
        "nodes": options.nodes,
        "rounds": options.rounds,
        "seeds": options.seeds,
        "rows": {
            name: {
                "settings": dict(settings[name]),
                "paper_ratio": round(paper[name], 3) if name in paper else None,
                **summaries([asdict(figures(*pair)) for pair in zip(row, reports[REFERENCE], strict=True)]),
            }
            for name, row in reports.items()
        },
    }
    with storage(options.out):
        (options.out / "table.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        draw(options.out, reports)
    return table


def lines(table: dict[str, Any]) -> list[dict[str, str]]:
    """Return the table's rows as people read them."""
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


def main(words: Sequence[str] | None = None) -> None:
    """Measure what `words` (the command line) ask for, and print it."""
    parser = table_parser(__doc__, "bench-swarm")
    parser.add_argument("--rounds", type=positive, default=60, help="rounds of every node (default: %(default)s)")
    parser.add_argument("--nodes", type=positive, default=8, help="nodes in the swarm (default: %(default)s)")
    parser.add_argument("--rows", default="", metavar="NAME,…", help=f"only these of {', '.join(SWARM)}, and {REFERENCE}")
    options = parser.parse_args(words)
    table = measure(options)
    show(table, lines(table), options)


if __name__ == "__main__":
    end(main)
