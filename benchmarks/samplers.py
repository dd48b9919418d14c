"""Which sampler learns more at the same generation: `python -m benchmarks.samplers [--seeds 1 2 3] [--rounds 40]`.

Runs the same swarm (8 nodes, in-memory network, same seeds) with every sampler of whole groups and with nothing foreign at all,
and prints held-out accuracy and cumulative reward as JSON: mean, spread over seeds, and each seed. Every finished run is one line
of a file (--runs) and is not made again. The paper's own unit, the rollout, is measured by `swarmd bench swarm`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from swarm.bench.cases import ALONE
from swarm.bench.runs import Command, make
from swarm.bench.table import summary

VARIANTS = {"useful": {"sampling.sampler": "useful"}, "uniform": {"sampling.sampler": "uniform"}, "alone": ALONE}
FIGURES = ("eval_before", "eval_after", "cumulative_reward", "zero_advantage_share")


def command(variant: str, seed: int, rounds: int, *, specialise: bool) -> Command:
    """Of `swarmd`."""
    settings = [text for name, value in VARIANTS[variant].items() for text in ("--set", f"{name}={value}")]
    specialised = ["--specialise"] if specialise else []
    return ("sim", "--network", "memory", "--rounds", str(rounds), "--seed", str(seed), *specialised, *settings)


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--specialise", action="store_true")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each of which takes about one core")
    parser.add_argument("--runs", type=Path, default=Path("samplers.jsonl"))
    options = parser.parse_args()
    commands = {
        name: [command(name, seed, options.rounds, specialise=options.specialise) for seed in options.seeds] for name in VARIANTS
    }
    every = [each[number] for number in range(len(options.seeds)) for each in commands.values()]
    runs = make(every, options.runs, ("wall_s", *FIGURES), options.jobs, lambda line: print(line, file=sys.stderr, flush=True))
    results = {
        name: {figure: summary([runs[each][figure] for each in row]) for figure in FIGURES} for name, row in commands.items()
    }
    asked = {name: getattr(options, name) for name in ("rounds", "seeds", "specialise")}
    print(json.dumps({**asked, **results}, indent=1))


if __name__ == "__main__":
    main()
