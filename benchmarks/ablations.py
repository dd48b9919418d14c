"""What each part is worth by itself: `python -m benchmarks.ablations [--parts useful paper …]`.

    useful   the sampler of the defaults with one of its parts taken out: own groups that teach
             nothing keep their places, the chance of a foreign group without one of its factors,
             all of its answers trained on; 8 nodes, --rounds
    paper    what bounds the paper's mixtures at this scale, beside the rows of
             `python -m benchmarks.swarm`: only better-than-average foreign rollouts, whole groups
             drawn uniformly instead of rollouts, half the learning rate; four times --rounds
    mixture  eight questions per node and round, tasks as they come, of whose groups I own and J
             foreign ones are trained on; `drop` is the deepest fall of the held-out accuracy,
             measured every five rounds

All in memory. Every finished run is one line of a file (--runs) and is not made again. Prints JSON,
mean and standard deviation over seeds. `python -m benchmarks.ablations VARIANT sim …` is
`swarmd sim …` with that variant's sampler.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.experiment.cases import GENERATION, NOT_NICE, PROTOCOL, SWARM
from benchmarks.experiment.program import end, experiment_parser, positive
from benchmarks.experiment.runs import Command, make_rows, sim_command
from benchmarks.experiment.table import drop, summaries, summary
from swarm.cli.main import main as swarmd
from swarm.pool.sampling import SAMPLERS, rollouts, uniform, useful
from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.pool.sampling.useful import freshness, need, spread
from swarm.pool.store.candidates import Candidate

FIGURES = ("eval_after", "cumulative_reward", "zero_advantage_share")
KEPT = ("wall_s", "eval_before", "curve", *FIGURES)


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings, and a sampler that replaces the one called `name`."""

    settings: Mapping[str, str]
    name: str = ""
    sampler: Sampler | None = None


def by(*factors: useful.Factor) -> Sampler:
    """Return the default sampler, drawing foreign groups by these factors only."""

    def usefulness(candidate: Candidate, skill: Skill) -> float:
        chance = float(candidate.reward_best >= skill.best.get(candidate.environment, 0.0))
        for factor in factors:
            chance *= factor(candidate, skill)
        return chance

    return replace(useful.SAMPLER, usefulness=usefulness)


def whole_groups(external: int) -> dict[str, str]:
    """The paper's settings, with one own and `external` foreign groups for eight rollouts."""
    return PROTOCOL | {"sampling.sampler": "uniform", "training.local": "1", "training.external": str(external)}


def half_rate(row: str) -> dict[str, str]:
    """Settings of a row of the paper's table, at half the default learning rate."""
    return {**SWARM[row], "training.learning_rate": "5e-5"}


def mixture(local: int, external: int) -> dict[str, str]:
    """Settings for training on `local` own groups out of eight and `external` foreign ones."""
    return {**GENERATION, "tasks.per_round": "8", "training.local": str(local), "training.external": str(external)}


# The paper's draw for whole groups: each in one round only, and J whatever it costs.
ONCE = replace(uniform.SAMPLER, max_uses=1, foreign_time=0.0)
BETTER_ONLY = replace(rollouts.SAMPLER, foreign_weights=useful.foreign_weights)
PARTS: dict[str, dict[str, Variant]] = {
    "useful": {
        "useful": Variant({}),
        "own places kept": Variant({}, "useful", replace(useful.SAMPLER, choose_own=uniform.choose_own, fills=False)),
        "any good group": Variant({}, "useful", by()),
        "without spread": Variant({}, "useful", by(need, freshness)),
        "without need": Variant({}, "useful", by(spread, freshness)),
        "without freshness": Variant({}, "useful", by(spread, need)),
        "all answers": Variant({}, "useful", replace(useful.SAMPLER, foreign_weights=uniform.foreign_weights)),
        "uniform": Variant({"sampling.sampler": "uniform"}),
    },
    "paper": {
        "4/4, better than average": Variant(SWARM["4/4"], "rollouts", BETTER_ONLY),
        "2/6, better than average": Variant(SWARM["2/6"], "rollouts", BETTER_ONLY),
        "groups 1/1": Variant(whole_groups(1), "uniform", ONCE),
        "groups 1/3": Variant(whole_groups(3), "uniform", ONCE),
        "8/0, half the rate": Variant(half_rate("8/0")),
        "4/4, half the rate": Variant(half_rate("4/4")),
    },
    "mixture": {f"groups of 8, {8 - external}/{external}": Variant(mixture(8 - external, external)) for external in (0, 2, 4, 6)},
}
VARIANTS = {name: variant for part in PARTS.values() for name, variant in part.items()}
LENGTH = {"useful": 1, "paper": 4, "mixture": 1}


def command(name: str, seed: int, rounds: int) -> Command:
    """Return one run's command line of this module: a variant, then a command of `swarmd`."""
    asked = {"--network": "memory", "--nodes": 8, "--rounds": rounds, "--seed": seed}
    measured = {"--evaluate-every": 5} if name in PARTS["mixture"] else {}
    return (name, *sim_command(asked | measured, {**NOT_NICE, **VARIANTS[name].settings}))


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "ablations.jsonl")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=positive, default=40)
    options = parser.parse_args()
    rounds = {name: options.rounds * LENGTH[part] for part in options.parts for name in PARTS[part]}
    rows = {name: [command(name, seed, rounds[name]) for seed in options.seeds] for name in rounds}
    reports = make_rows(rows, options.runs, KEPT, options.jobs, (sys.executable, "-m", "benchmarks.ablations"))
    results = {name: {"rounds": rounds[name], **summaries(row, FIGURES)} for name, row in reports.items()}
    for name in PARTS["mixture"].keys() & reports.keys():
        results[name]["drop"] = summary([drop(report) for report in reports[name]])
    print(json.dumps({"seeds": options.seeds, **results}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VARIANTS:
        one = VARIANTS[sys.argv.pop(1)]
        SAMPLERS.update({one.name: one.sampler} if one.sampler else {})
        swarmd()
    else:
        end(main)
