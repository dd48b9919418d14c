"""CPU time until a lone node's best accuracy: `python -m benchmarks.opponent [--rounds 160]`.

A lone node that oversamples and filters (benchmarks/experiment/cases.py; 8 groups a round, up to 8
informative ones trained on, the best of 14 settings that `python -m benchmarks.efficiency
--opponent` tried) runs for `--rounds`; "tuned" has larger updates, which suit it better, and
"constant" a learning rate that never falls. Eight nodes with the defaults run for half as many
rounds.

Held-out accuracy and CPU seconds per node, network, verification and admission included and
evaluation left out, are those of each run's curve. A cost is read where the curve first crosses a
target: `--targets`, and the lone node's own accuracy after its last round. A single node's curve is
the noisier one, and crosses earlier for that. Every finished run is one line of a file (--runs) and
is not made again. Prints JSON, mean and standard deviation over seeds; `ratio` is swarm over lone,
seed by seed. Run it on an idle machine, one job at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.efficiency import cost
from benchmarks.experiment.cases import Case, lone_settings
from benchmarks.experiment.program import end, experiment_parser, positive
from benchmarks.experiment.runs import make_rows
from benchmarks.experiment.table import KEPT, Report, summary

_LONE, _TUNED = lone_settings(8, 8), {"training.groups_per_update": "5", "training.learning_rate": "1.5e-4"}
_CONSTANT = {"training.constant_steps": "0"}
LONE: dict[str, Mapping[str, str]] = {
    "lone": _LONE,
    "tuned": _LONE | _TUNED,
    "constant": _LONE | _CONSTANT,
    "tuned, constant": _LONE | _TUNED | _CONSTANT,
}
MARKS = 20  # measurements of a lone run; the swarm's, which is faster, are closer


def compared(swarm: Sequence[Report], lone: Sequence[Report], targets: Sequence[float]) -> dict[str, Any]:
    """Compare the costs until one accuracy per seed; None where a run never reaches it."""
    ours = [cost(report, target) for report, target in zip(swarm, targets, strict=True)]
    theirs = [cost(report, target) for report, target in zip(lone, targets, strict=True)]
    pairs = [(a.cpu_s, b.cpu_s) for a, b in zip(ours, theirs, strict=True) if a and b and a.cpu_s and b.cpu_s]
    all_reached = len(pairs) == len(targets)
    return {
        "accuracy": summary(targets),
        "swarm_cpu_s": summary([mine for mine, _ in pairs]) if all_reached else None,
        "lone_cpu_s": summary([other for _, other in pairs]) if all_reached else None,
        "ratio": summary([mine / other for mine, other in pairs]) if all_reached else None,
    }


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "opponent.jsonl")
    parser.add_argument("--rounds", type=positive, default=160)
    parser.add_argument("--targets", type=float, nargs="+", default=[0.65, 0.7, 0.75])
    options = parser.parse_args()
    every = max(1, options.rounds // MARKS)
    half, closer = max(1, options.rounds // 2), max(1, every * 3 // 8)
    rows = {name: [Case(row, 1, options.rounds, seed, every).command() for seed in options.seeds] for name, row in LONE.items()}
    rows["swarm"] = [Case({}, 8, half, seed, closer).command() for seed in options.seeds]
    reports = make_rows(rows, options.runs, KEPT, options.jobs)
    found = {}
    for name in LONE:
        final = [report["curve"]["accuracy"][-1] for report in reports[name]]
        goals = {"its last": final} | {f"{target:g}": [target] * len(final) for target in options.targets}
        found[name] = {of: compared(reports["swarm"], reports[name], targets) for of, targets in goals.items()}
    print(json.dumps({"seeds": options.seeds, "rounds": options.rounds, **found}, indent=1))


if __name__ == "__main__":
    end(main)
