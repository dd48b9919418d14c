"""What unequal nodes are to each other: `python -m benchmarks.unequal [--parts speed strength …]`.

Four swarms of eight nodes in memory, each beside the same nodes alone (nothing shared, no foreign
group trained on):

    speed      seven nodes and one ten times slower; also the seven without it
    strength   one node with a strong base model among seven with a weak one (--strong, --weak)
    families   four nodes with one base model and four with another of another family and tokenizer
               (--strong, --other)
    tasks      every node has its own third of the tasks, and is asked about all of them

`python -m benchmarks.make_embedded --out DIR` makes the models: a weak one with `--size small
--lessons 1300`, one of another family with `--family gpt2 --lessons 1800`. A part whose model is
not given is left out unless --parts names it. Every finished run is one line of a file (--runs) and
is not made again. Prints JSON: held-out accuracy per kind of node, together and alone, mean and
standard deviation over seeds; and the gain, together over alone, of the same seeds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.experiment.cases import ALONE
from benchmarks.experiment.program import add_settings, end, experiment_parser, given, positive
from benchmarks.experiment.runs import Command, as_options, make_rows, sim_command
from benchmarks.experiment.table import summary
from swarm.config.load import OF_OTHER_MODELS
from swarm.config.schema import TrainingSection

KEPT = (
    "wall_s", "eval_before_per_node", "eval_after_per_node", "rounds_per_node", "reward_per_round_per_node", "trained_from",
    "groups_left_out", "policy_age_per_node", "digest",
)  # fmt: skip
PARTS = ("speed", "strength", "families", "tasks")
SLOW = "1,1,1,1,1,1,1,0.1"
# The other models are as small as the embedded one and learn at its rate; the defaults of other
# models are for large ones.
OWN = [name.removeprefix("training.") for name in OF_OTHER_MODELS if name.startswith("training.")]
LIKE_EMBEDDED = "".join(f",training.{name}={getattr(TrainingSection(), name):g}" for name in OWN)


@dataclass(frozen=True, slots=True)
class UnequalCase:
    """One swarm: the kinds of its nodes in order, and more options of `swarmd sim`."""

    kinds: tuple[str, ...]
    options: tuple[str, ...] = ()

    def command(self, rounds: int, seed: int) -> Command:
        """Return one run's command line of `swarmd`."""
        asked = {"--network": "memory", "--nodes": len(self.kinds), "--rounds": rounds, "--seed": seed}
        return (*sim_command(asked, {}), *self.options)

    def beside(self, settings: Mapping[str, str]) -> UnequalCase:
        """Return the same swarm with more settings."""
        return replace(self, options=(*self.options, *as_options(settings)))


def cases(part: str, strong: str, weak: str, other: str) -> dict[str, UnequalCase]:
    """Return the swarms of one part by name: first its subject, then those to compare it with."""

    def of(models: Sequence[str]) -> tuple[str, ...]:
        return tuple(each for model in models for each in ("--model", model + LIKE_EMBEDDED * (model != "embedded")))

    seven = ("fast",) * 7
    together = {
        "speed": UnequalCase((*seven, "slow"), ("--speeds", SLOW)),
        "strength": UnequalCase(("strong", *["weak"] * 7), of([strong, *[weak] * 7])),
        "families": UnequalCase(("one", "other") * 4, of([strong, other])),
        "tasks": UnequalCase(("node",) * 8, ("--specialise",)),
    }[part]
    return {"together": together, "alone": together.beside(ALONE)} | (
        {"without the slow one": UnequalCase(seven)} if part == "speed" else {}
    )


def by_kind(case: UnequalCase, report: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return the mean of a figure over the nodes of each kind."""
    return {
        kind: statistics.mean(value for each, value in zip(case.kinds, report[name], strict=True) if each == kind)
        for kind in dict.fromkeys(case.kinds)
    }


def figures(part: Mapping[str, UnequalCase], reports: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Summarise accuracy per swarm and kind of node, and the first swarm's gains."""
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
    parser = experiment_parser(__doc__, "unequal.jsonl")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="without it all whose models are given")
    parser.add_argument("--rounds", type=positive, default=60)
    parser.add_argument("--strong", default="embedded", help="base model of the strong node, and of one family")
    parser.add_argument("--weak", default="", help="folder of the weak nodes' base model")
    parser.add_argument("--other", default="", help="folder of the other family's base model")
    add_settings(parser, "all nodes")
    options = parser.parse_args()
    lacking = {part for part, model in (("strength", options.weak), ("families", options.other)) if not model}
    parts = options.parts or [part for part in PARTS if part not in lacking]
    if lacking & set(parts):
        parser.error("strength needs --weak DIR, families needs --other DIR; benchmarks.make_embedded makes both")
    swarms_of = {part: cases(part, options.strong, options.weak, options.other) for part in parts}
    chosen = {part: {name: case.beside(given(options)) for name, case in swarms_of[part].items()} for part in parts}
    rows = {
        (part, name): [case.command(options.rounds, seed) for seed in options.seeds]
        for part, swarms in chosen.items()
        for name, case in swarms.items()
    }
    reports = make_rows(rows, options.runs, KEPT, options.jobs)
    results = {part: figures(swarms, {name: reports[part, name] for name in swarms}) for part, swarms in chosen.items()}
    print(json.dumps({"rounds": options.rounds, "seeds": options.seeds, "settings": options.set, **results}, indent=1))


if __name__ == "__main__":
    end(main)
