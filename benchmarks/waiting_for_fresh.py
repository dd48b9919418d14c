"""Waiting for fresh groups, or training on what is there: `python -m benchmarks.waiting_for_fresh`.

The same swarm (8 nodes, half of them half as fast, in memory) once waits for fresh groups
(`sampling.wait_s`) and once trains on the groups there are, for each bound on the policy age of a
group (`sampling.max_policy_age`, in updates of its signer, two a round). Every finished run is one
line of a file (--runs) and is not made again. Prints JSON, mean and spread over seeds of

    held_out   held-out accuracy after the rounds
    reward     cumulative reward of a node
    roughness  root mean square of the change of the swarm's mean reward from one round to the next
    age        mean policy age of the foreign groups trained on
    round_s    virtual seconds of a round, and of these waited_s
    foreign    foreign groups trained on per round
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from benchmarks.experiment.program import end, experiment_parser, positive
from benchmarks.experiment.runs import Command, make_rows, sim_command
from benchmarks.experiment.table import summaries

MODES = ("available", "fresh")
KEPT = (
    "wall_s", "eval_after", "cumulative_reward", "reward_per_round", "policy_age", "rounds_per_node", "seconds_per_activity",
    "groups_trained_foreign", "digest",
)  # fmt: skip


def command(mode: str, bound: int, seed: int, options: argparse.Namespace) -> Command:
    """Return one run's command line of `swarmd`."""
    asked = {"--network": "memory", "--rounds": options.rounds, "--seed": seed, "--speeds": options.speeds}
    wait_s = options.wait_s if mode == "fresh" else 0
    wait = {"sampling.max_policy_age": str(bound), "sampling.wait_s": str(wait_s)}
    return sim_command(asked, wait)


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of one run."""
    rewards, rounds = report["reward_per_round"], sum(report["rounds_per_node"])
    seconds = report["seconds_per_activity"]
    return {
        "held_out": report["eval_after"],
        "reward": report["cumulative_reward"],
        "roughness": math.sqrt(statistics.mean((after - before) ** 2 for before, after in pairwise(rewards))),
        "age": report["policy_age"] or 0.0,
        "round_s": sum(seconds.values()) / rounds,
        "waited_s": seconds.get("waiting", 0.0) / rounds,
        "foreign": report["groups_trained_foreign"] / rounds,
    }


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "freshness.jsonl")
    parser.add_argument("--bounds", type=int, nargs="+", default=[2, 24], help="sampling.max_policy_age")
    parser.add_argument("--rounds", type=positive, default=60)
    parser.add_argument("--speeds", default="1,0.5", help="as swarmd sim takes them")
    parser.add_argument("--wait-s", type=float, default=5.0, help="sampling.wait_s of fresh, in virtual seconds")
    options = parser.parse_args()
    variants = {f"{mode}, at most {bound} updates old": (mode, bound) for bound in options.bounds for mode in MODES}
    rows = {name: [command(mode, bound, seed, options) for seed in options.seeds] for name, (mode, bound) in variants.items()}
    reports = make_rows(rows, options.runs, KEPT, options.jobs)
    results = {name: summaries([figures(report) for report in row]) for name, row in reports.items()}
    asked = {name: getattr(options, name) for name in ("rounds", "speeds", "wait_s", "seeds")}
    print(json.dumps({**asked, **results}, indent=1))


if __name__ == "__main__":
    end(main)
