"""Waiting for fresh groups, or training on what is there: `python -m benchmarks.freshness [--bounds 0 8] [--seeds 1 2 3]`.

The same swarm (8 nodes, half of them half as fast, in memory) in both modes of `sampling.freshness`, for each bound on
the policy age of a group (`sampling.max_policy_age`, in updates of its signer). Prints JSON, mean and standard deviation over
seeds of

    held_out   held-out accuracy after the rounds
    reward     cumulative reward of a node
    roughness  root mean square of the change of the swarm's mean reward from one round to the next: less is steadier
    age        mean policy age of the foreign groups trained on
    round_s    virtual seconds of a round, and of these waited_s
    foreign    foreign groups trained on per round
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import run_simulation

MODES = ("available", "fresh")


def measure(mode: str, bound: int, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one run."""
    settings = {"sampling.freshness": mode, "sampling.max_policy_age": str(bound), "sampling.max_wait_s": str(options.max_wait_s)}
    with tempfile.TemporaryDirectory() as directory:
        report = run_simulation(
            SimulationOptions(
                nodes=options.nodes,
                rounds=options.rounds,
                seed=seed,
                network="memory",
                speeds=tuple(options.speeds),
                report=Path(directory),
                plain=True,
                overrides=settings,
            )
        )
    rewards, rounds = report["reward_per_round"], sum(report["rounds_per_node"])
    seconds = report["seconds_per_activity"]
    return {
        "held_out": report["eval_after"],
        "reward": report["cumulative_reward"],
        "roughness": math.sqrt(statistics.mean((after - before) ** 2 for before, after in pairwise(rewards))),
        "age": report["policy_age"],
        "round_s": sum(seconds.values()) / rounds,
        "waited_s": seconds.get("waiting", 0.0) / rounds,
        "foreign": report["groups_trained_foreign"] / rounds,
    }


def summary(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and the values."""
    return {
        name: {
            "mean": round(statistics.mean(values), 4),
            "spread": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "values": [round(value, 4) for value in values],
        }
        for name in runs[0]
        for values in [[run[name] for run in runs]]
    }


def main() -> None:
    """Run both modes with every bound over all seeds and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bounds", type=int, nargs="+", default=[0, 8], help="sampling.max_policy_age")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--speeds", type=float, nargs="+", default=[1.0, 0.5], help="the nodes take them in turn")
    parser.add_argument("--max-wait-s", type=float, default=5.0, help="sampling.max_wait_s, in virtual seconds")
    options = parser.parse_args()
    results = {
        f"{mode}, at most {bound} updates": summary([measure(mode, bound, seed, options) for seed in options.seeds])
        for bound in options.bounds
        for mode in MODES
    }
    asked = {name: getattr(options, name) for name in ("rounds", "nodes", "speeds", "max_wait_s", "seeds")}
    print(json.dumps({**asked, **results}, indent=1))


if __name__ == "__main__":
    main()
