"""What unequal nodes are to each other: `python -m benchmarks.unequal [--parts speed strength …] [--seeds 1 2 3] [--rounds 60]`.

Four swarms of eight nodes in memory, each beside the same nodes alone (nothing shared, nothing foreign trained on):

    speed      seven nodes and one ten times slower; also the seven without it
    strength   one node with a strong base model among seven with a weak one (--strong, --weak)
    families   four nodes with one base model and four with another of another family and tokenizer (--strong, --other)
    tasks      every node has its own third of the tasks, and is asked about all of them (--specialise)

`python -m benchmarks.make_embedded --out DIR` makes the models: a weak one with `--size small --lessons 1300`, one of another
family with `--family gpt2 --lessons 1800`. Every finished run is one line of a file (--runs) and is not made again. Prints JSON:
held-out accuracy per kind of node, together and alone, mean and standard deviation over seeds; and the gain, together over
alone, of the same seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.bench.cases import ALONE
from swarm.bench.runs import Command, make
from swarm.bench.table import summary
from swarm.config.load import OF_THE_EMBEDDED_MODEL
from swarm.config.schema import TrainingSection

KEPT = (
    "wall_s", "eval_before_per_node", "eval_after_per_node", "rounds_per_node", "reward_per_round_per_node", "trained_from",
    "groups_left_out", "policy_age_per_node", "digest",
)  # fmt: skip
SLOW = "1,1,1,1,1,1,1,0.1"
# The other models are as small as the embedded one and learn at its rate; the defaults of other models are for large ones.
LIKE_EMBEDDED = "".join(f",training.{name}={getattr(TrainingSection(), name):g}" for name in OF_THE_EMBEDDED_MODEL)


@dataclass(frozen=True, slots=True)
class UnequalCase:
    """One swarm: what its nodes are, in their order, and what of `swarmd sim`'s options is not the default."""

    kinds: tuple[str, ...]
    options: tuple[str, ...] = ()

    def command(self, rounds: int, seed: int) -> Command:
        """Of `swarmd`."""
        asked = {"--network": "memory", "--nodes": len(self.kinds), "--rounds": rounds, "--seed": seed}
        return ("sim", *(str(each) for pair in asked.items() for each in pair), *self.options)

    def alone(self) -> UnequalCase:
        """The same nodes without a swarm."""
        return UnequalCase(self.kinds, (*self.options, *settings(ALONE)))


def settings(named: Mapping[str, str]) -> tuple[str, ...]:
    """As options of the command line."""
    return tuple(each for name, value in named.items() for each in ("--set", f"{name}={value}"))


def cases(part: str, strong: str, weak: str, other: str) -> dict[str, UnequalCase]:
    """The swarms of one part by name; the first is what it is about, the others are what it is compared with."""

    def of(models: Sequence[str]) -> tuple[str, ...]:
        return tuple(each for model in models for each in ("--model", model + LIKE_EMBEDDED * (model != "embedded")))

    seven = ("fast",) * 7
    together = {
        "speed": UnequalCase((*seven, "slow"), ("--speeds", SLOW)),
        "strength": UnequalCase(("strong", *["weak"] * 7), of([strong, *[weak] * 7])),
        "families": UnequalCase(("one", "other") * 4, of([strong, other])),
        "tasks": UnequalCase(("node",) * 8, ("--specialise",)),
    }[part]
    return {"together": together, "alone": together.alone()} | (
        {"without the slow one": UnequalCase(seven)} if part == "speed" else {}
    )


def by_kind(case: UnequalCase, report: Mapping[str, Any], name: str) -> dict[str, float]:
    """Mean of a figure over the nodes of each kind."""
    return {
        kind: statistics.mean(value for each, value in zip(case.kinds, report[name], strict=True) if each == kind)
        for kind in dict.fromkeys(case.kinds)
    }


def figures(part: Mapping[str, UnequalCase], reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Per swarm and kind of node the accuracy before and after; per kind what the first swarm gained over each other."""
    found: dict[str, Any] = {}
    after = {name: [by_kind(case, report, "eval_after_per_node") for report in reports[name]] for name, case in part.items()}
    for name, case in part.items():
        before = by_kind(case, reports[name][0], "eval_before_per_node")
        found[name] = {
            kind: {"before": round(before[kind], 4), "after": summary([each[kind] for each in after[name]])} for kind in before
        }
    first, *others = part
    for name in others:
        pairs = list(zip(after[first], after[name], strict=True))
        found[f"{first} over {name}"] = {
            kind: summary([ours[kind] / theirs[kind] for ours, theirs in pairs]) for kind in after[name][0]
        }
    return found


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("speed", "strength", "families", "tasks")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--strong", default="embedded", help="base model of the strong node, and of one family")
    parser.add_argument("--weak", default="", help="folder of the weak nodes' base model")
    parser.add_argument("--other", default="", help="folder of the other family's base model")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all nodes")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each of which takes about one core")
    parser.add_argument("--runs", type=Path, default=Path("unequal.jsonl"))
    options = parser.parse_args()
    if ("strength" in options.parts and not options.weak) or ("families" in options.parts and not options.other):
        parser.error("strength needs --weak DIR, families needs --other DIR; benchmarks.make_embedded makes both")
    extra = settings(dict(each.split("=", 1) for each in options.set))
    chosen = {
        part: {
            name: UnequalCase(case.kinds, (*case.options, *extra))
            for name, case in cases(part, options.strong, options.weak, options.other).items()
        }
        for part in options.parts
    }
    # Seed by seed, so that whoever stops it early has something of everything.
    commands = [
        case.command(options.rounds, seed) for seed in options.seeds for part in chosen.values() for case in part.values()
    ]
    runs = make(commands, options.runs, KEPT, options.jobs, lambda line: print(line, file=sys.stderr, flush=True))
    results = {
        name: figures(
            part, {each: [runs[case.command(options.rounds, seed)] for seed in options.seeds] for each, case in part.items()}
        )
        for name, part in chosen.items()
    }
    print(json.dumps({"rounds": options.rounds, "seeds": options.seeds, "settings": options.set, **results}, indent=1))


if __name__ == "__main__":
    main()
