"""Which sampler learns more at the same generation: `python -m benchmarks.samplers [--rounds 40]`.

Runs the same swarm (8 nodes, in-memory network, same seeds) with every sampler of whole groups and
with no foreign groups at all, and prints held-out accuracy and cumulative reward as JSON: mean,
spread over seeds, and each seed. Every finished run is one line of a file (--runs) and is not made
again. The paper's own unit, the rollout, is measured by `python -m benchmarks.swarm`.
"""

from __future__ import annotations

import json

from benchmarks.experiment.cases import ALONE
from benchmarks.experiment.program import end, experiment_parser, positive
from benchmarks.experiment.runs import Command, make_rows, sim_command
from benchmarks.experiment.table import summaries

VARIANTS = {"useful": {"sampling.sampler": "useful"}, "uniform": {"sampling.sampler": "uniform"}, "alone": ALONE}
FIGURES = ("eval_before", "eval_after", "cumulative_reward", "zero_advantage_share")


def command(variant: str, seed: int, rounds: int, *, specialise: bool) -> Command:
    """Return one run's command line of `swarmd`."""
    asked = {"--network": "memory", "--rounds": rounds, "--seed": seed} | ({"--specialise": True} if specialise else {})
    return sim_command(asked, VARIANTS[variant])


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "samplers.jsonl")
    parser.add_argument("--rounds", type=positive, default=40)
    parser.add_argument("--specialise", action="store_true")
    options = parser.parse_args()
    rows = {
        name: [command(name, seed, options.rounds, specialise=options.specialise) for seed in options.seeds] for name in VARIANTS
    }
    reports = make_rows(rows, options.runs, ("wall_s", *FIGURES), options.jobs)
    results = {name: summaries(row, FIGURES) for name, row in reports.items()}
    asked = {name: getattr(options, name) for name in ("rounds", "seeds", "specialise")}
    print(json.dumps({**asked, **results}, indent=1))


if __name__ == "__main__":
    end(main)
