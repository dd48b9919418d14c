"""Which sampler learns more at the same generation: `python -m benchmarks.samplers [--seeds 1 2 3] [--rounds 40]`.

Runs the same swarm (8 nodes, in-memory network, same seeds) with every sampler and with nothing foreign at all, and prints
held-out accuracy and cumulative reward as JSON: mean, spread over seeds, and each seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import run_simulation

VARIANTS = {
    "useful": {"sampling.sampler": "useful"},
    "uniform": {"sampling.sampler": "uniform"},
    "alone": {"training.external": "0", "tasks.share": "false"},
}
FIGURES = ("eval_before", "eval_after", "cumulative_reward", "zero_advantage_share")


def measure(overrides: dict[str, str], seed: int, rounds: int, *, specialise: bool) -> dict[str, float]:
    """The figures of one run."""
    with tempfile.TemporaryDirectory() as directory:
        report = run_simulation(
            SimulationOptions(
                rounds=rounds,
                seed=seed,
                network="memory",
                specialise=specialise,
                report=Path(directory),
                plain=True,
                overrides=overrides,
            )
        )
    return {name: report[name] for name in FIGURES}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and the values."""
    return {
        name: {
            "mean": round(statistics.mean(values), 4),
            "spread": round(statistics.stdev(values), 4) if len(values) > 1 else None,
            "values": [round(value, 4) for value in values],
        }
        for name in FIGURES
        for values in [[run[name] for run in runs]]
    }


def main() -> None:
    """Run every variant over all seeds and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--specialise", action="store_true")
    options = parser.parse_args()
    results = {
        name: summary([measure(overrides, seed, options.rounds, specialise=options.specialise) for seed in options.seeds])
        for name, overrides in VARIANTS.items()
    }
    print(json.dumps({"rounds": options.rounds, "seeds": options.seeds, "specialise": options.specialise, **results}, indent=1))


if __name__ == "__main__":
    main()
