"""What each part is worth by itself: `python -m benchmarks.ablations [--parts useful paper …] [--seeds 1 2 3] [--jobs 1]`.

    useful   the sampler of the defaults with one of its parts taken out: own groups that teach nothing keep their places, the
             chance of a foreign group without one of its factors, all of its answers trained on; 8 nodes, --rounds
    paper    what bounds the paper's mixtures at this scale, beside the rows of `swarmd bench swarm`: only better-than-average
             foreign rollouts, whole groups drawn uniformly instead of rollouts, half the learning rate; four times --rounds
    mixture  eight questions per node and round, tasks as they come, of whose groups I own and J foreign ones are trained on;
             `drop` is the deepest fall of the held-out accuracy, looked at every five rounds

All in memory. Every finished run is one line of a file (--runs) and is not made again. Prints JSON, mean and standard deviation
over seeds. `python -m benchmarks.ablations VARIANT sim …` is `swarmd sim …` with that variant's sampler.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.unequal import settings
from swarm.bench.cases import GENERATION, PROTOCOL, SWARM
from swarm.bench.runs import Command, make
from swarm.bench.table import drop, summary
from swarm.cli.main import main as swarmd
from swarm.pool.sampling import SAMPLERS, rollouts, uniform, useful
from swarm.pool.sampling.drawing import Sampler, Skill
from swarm.pool.sampling.useful import freshness, need, spread
from swarm.pool.store.candidates import Candidate

FIGURES = ("eval_after", "cumulative_reward", "zero_advantage_share")
KEPT = ("wall_s", "eval_before", "curve", *FIGURES)


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings, and a sampler in the place of the one of that name."""

    settings: Mapping[str, str]
    name: str = ""
    sampler: Sampler | None = None


def by(*factors: useful.Factor) -> Sampler:
    """The default sampler whose foreign groups are drawn by these factors only."""

    def usefulness(candidate: Candidate, skill: Skill) -> float:
        chance = float(candidate.reward_best >= skill.best.get(candidate.environment, 0.0))
        for factor in factors:
            chance *= factor(candidate, skill)
        return chance

    return replace(useful.SAMPLER, usefulness=usefulness)


def whole_groups(external: int) -> dict[str, str]:
    """The paper's experiment with one own group and this many foreign ones instead of eight rollouts."""
    return PROTOCOL | {"sampling.sampler": "uniform", "training.local": "1", "training.external": str(external)}


def half_rate(row: str) -> dict[str, str]:
    """A row of the paper's table at half the learning rate of the defaults."""
    return {**SWARM[row], "training.learning_rate": "5e-5"}


def mixture(local: int, external: int) -> dict[str, str]:
    """I own groups out of eight, J foreign ones."""
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
    """Of this module: the variant's name, then what `swarmd` takes."""
    asked = ("--network", "memory", "--nodes", "8", "--rounds", str(rounds), "--seed", str(seed))
    looks = ("--evaluate-every", "5") if name in PARTS["mixture"] else ()
    return (name, "sim", *asked, *looks, *settings({"policy.niceness": "0", **VARIANTS[name].settings}))


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each of which takes about one core")
    parser.add_argument("--runs", type=Path, default=Path("ablations.jsonl"))
    options = parser.parse_args()
    rounds = {name: options.rounds * LENGTH[part] for part in options.parts for name in PARTS[part]}
    commands = {name: [command(name, seed, rounds[name]) for seed in options.seeds] for name in rounds}
    every = [row[number] for number in range(len(options.seeds)) for row in commands.values()]
    program = (sys.executable, "-m", "benchmarks.ablations")
    runs = make(every, options.runs, KEPT, options.jobs, lambda line: print(line, file=sys.stderr, flush=True), program)
    results = {
        name: {"rounds": rounds[name], **{figure: summary([runs[each][figure] for each in row]) for figure in FIGURES}}
        for name, row in commands.items()
    }
    for name in PARTS["mixture"].keys() & commands.keys():
        results[name]["drop"] = summary([drop(runs[each]) for each in commands[name]])
    print(json.dumps({"seeds": options.seeds, **results}, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in VARIANTS:
        one = VARIANTS[sys.argv.pop(1)]
        SAMPLERS.update({one.name: one.sampler} if one.sampler else {})
        swarmd()
    else:
        main()
