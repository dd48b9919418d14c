"""What choosing tasks by their difficulty saves: `python -m benchmarks.curriculum [--seeds 1 2 3] [--rounds 40]`.

The same swarm (8 nodes, in memory) with the curriculum and its choice among alternatives, and with neither. Every finished run
is one line of a file (--runs) and is not made again. Prints JSON, mean and standard deviation over seeds of

    zero_first, zero_second  share of the proposed groups without advantage, in either half of the run
    held_out                 accuracy on held-out prompts after the rounds, over all tasks; weakest_task is the least of any task
    reward                   cumulative reward of a node, on tasks that the curriculum makes harder or easier

and of every seed the shares with the curriculum over those without: `ratio_second` is what the curriculum is judged by.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.unequal import settings
from swarm.bench.runs import Command, make
from swarm.bench.table import summary

# "off" proposes uniformly and takes what comes.
MODES: dict[str, dict[str, str]] = {"on": {}, "off": {"tasks.curriculum": "false", "tasks.choices": "1"}}
KEPT = ("wall_s", "eval_before", "eval_after", "eval_per_task", "zero_advantage_share_per_half", "cumulative_reward", "digest")


def command(mode: str, seed: int, options: argparse.Namespace) -> Command:
    """Of `swarmd`."""
    asked = {"--nodes": str(options.nodes), "--network": "memory", "--rounds": str(options.rounds), "--seed": str(seed)}
    return ("sim", *(each for pair in asked.items() for each in pair), *settings({"policy.niceness": "0", **MODES[mode]}))


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Of one run."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each of which takes about one core")
    parser.add_argument("--runs", type=Path, default=Path("curriculum.jsonl"))
    options = parser.parse_args()
    commands = {mode: [command(mode, seed, options) for seed in options.seeds] for mode in MODES}
    # Seed by seed, so that whoever stops it early has something of both.
    runs = make(
        [each[number] for number in range(len(options.seeds)) for each in commands.values()],
        options.runs, KEPT, options.jobs, lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    found = {mode: [figures(runs[one]) for one in each] for mode, each in commands.items()}
    results = {mode: {name: summary([one[name] for one in each]) for name in each[0]} for mode, each in found.items()}
    pairs = list(zip(found["on"], found["off"], strict=True))
    ratios = {
        f"ratio_{half}": summary([on[f"zero_{half}"] / off[f"zero_{half}"] for on, off in pairs]) for half in ("first", "second")
    }
    asked = {name: getattr(options, name) for name in ("nodes", "rounds", "seeds")}
    print(json.dumps({**asked, **ratios, **results}, indent=1))


if __name__ == "__main__":
    main()
