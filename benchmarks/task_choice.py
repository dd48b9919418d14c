"""What choosing tasks by their difficulty saves: `python -m benchmarks.task_choice [--rounds 40]`.

The same swarm (8 nodes, in memory) with the curriculum and its choice among alternatives, and with
neither. Every finished run is one line of a file (--runs) and is not made again. Prints JSON, mean
and standard deviation over seeds of

    zero_first, zero_second  share of the proposed groups without advantage, in either half
    held_out                 accuracy on held-out prompts after the rounds, over all tasks
    weakest_task             the least such accuracy of any task
    reward                   cumulative reward of a node, on tasks that get harder or easier

and of every seed the shares with the curriculum over those without: `ratio_second` is the figure
that the curriculum is judged by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from benchmarks.experiment.cases import NOT_NICE
from benchmarks.experiment.program import end, experiment_parser, positive
from benchmarks.experiment.runs import Command, make_rows, sim_command
from benchmarks.experiment.table import summaries, summary

# "off" proposes uniformly and takes what comes.
MODES: dict[str, dict[str, str]] = {"on": {}, "off": {"tasks.curriculum": "false", "tasks.choices": "1"}}
KEPT = ("wall_s", "eval_before", "eval_after", "eval_per_task", "zero_advantage_share_per_half", "cumulative_reward", "digest")


def command(mode: str, seed: int, options: argparse.Namespace) -> Command:
    """Return one run's command line of `swarmd`."""
    asked = {"--nodes": options.nodes, "--network": "memory", "--rounds": options.rounds, "--seed": seed}
    return sim_command(asked, NOT_NICE | MODES[mode])


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one run."""
    first, second = report["zero_advantage_share_per_half"]
    return {
        "zero_first": first,
        "zero_second": second,
        "held_out": report["eval_after"],
        "weakest_task": min(task["after"] for task in report["eval_per_task"].values()),
        "reward": report["cumulative_reward"],
    }


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "curriculum.jsonl")
    parser.add_argument("--nodes", type=positive, default=8)
    parser.add_argument("--rounds", type=positive, default=40)
    options = parser.parse_args()
    rows = {mode: [command(mode, seed, options) for seed in options.seeds] for mode in MODES}
    reports = make_rows(rows, options.runs, KEPT, options.jobs)
    found = {mode: [figures(report) for report in row] for mode, row in reports.items()}
    results = {mode: summaries(row) for mode, row in found.items()}
    pairs = list(zip(found["on"], found["off"], strict=True))
    ratios = {
        f"ratio_{half}": summary([on[f"zero_{half}"] / off[f"zero_{half}"] for on, off in pairs]) for half in ("first", "second")
    }
    asked = {name: getattr(options, name) for name in ("nodes", "rounds", "seeds")}
    print(json.dumps({**asked, **ratios, **results}, indent=1))


if __name__ == "__main__":
    end(main)
