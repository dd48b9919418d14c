"""What unequal nodes are to each other: `python -m benchmarks.unequal [--parts speed strength …] [--seeds 1 2 3] [--rounds 60]`.

Four swarms of eight nodes in memory, each beside the same nodes alone (nothing shared, nothing foreign trained on):

    speed      seven nodes and one ten times slower; also the seven without it
    strength   one node with a strong base model among seven with a weak one (--strong, --weak)
    families   four nodes with one base model and four with another of another family and tokenizer (--strong, --other)
    tasks      every node has its own third of the tasks, and is asked about all of them (--specialise)

`python -m benchmarks.make_embedded` makes the models, `--size small --lessons 1500` a weak one, `--family gpt2` one of another
family. Every finished run is one line of a file (--runs) and is not made again. Prints JSON: held-out accuracy per kind of node,
together and alone, mean and standard deviation over seeds; and the gain, together over alone, of the same seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.sim.options import SimulationOptions
from swarm.sim.simulation import run_simulation

ALONE = {"training.external": "0", "tasks.share": "false"}
SLOW = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """One swarm. `kinds` are its nodes' kinds in their order, `options` what differs from a default simulation."""

    name: str
    kinds: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)


def cases(part: str, strong: str, weak: str, other: str) -> list[Case]:
    """The swarms of one part, the first one the one that it is about; those of lone nodes end in "alone"."""
    match part:
        case "speed":
            kinds = (*["fast"] * 7, "slow")
            speeds = (*[1.0] * 7, SLOW)
            return [
                Case("together", kinds, {"speeds": speeds}),
                Case("alone", kinds, {"speeds": speeds, "overrides": ALONE}),
                Case("without the slow one", kinds[:7]),
            ]
        case "strength":
            return _with_and_alone(("strong", *["weak"] * 7), {"models": (strong, *[weak] * 7)})
        case "families":
            return _with_and_alone(("one", "other") * 4, {"models": (strong, other)})
        case "tasks":
            return _with_and_alone(("node",) * 8, {"specialise": True})
    raise ValueError(part)


def _with_and_alone(kinds: tuple[str, ...], options: dict[str, Any]) -> list[Case]:
    return [Case("together", kinds, options), Case("alone", kinds, options | {"overrides": ALONE})]


def run(case: Case, seed: int, rounds: int, settings: dict[str, str]) -> dict[str, Any]:
    """Held-out accuracy per node, before and after, and what each did."""
    overrides = settings | case.options.get("overrides", {})
    with tempfile.TemporaryDirectory() as directory:
        report = run_simulation(
            SimulationOptions(
                nodes=len(case.kinds),
                rounds=rounds,
                seed=seed,
                network="memory",
                report=Path(directory),
                plain=True,
                **case.options | {"overrides": overrides},
            )
        )
    kept = ("eval_before_per_node", "eval_after_per_node", "rounds_per_node", "trained_from", "policy_age_per_node", "digest")
    rewards = [sum(each) for each in report["reward_per_round_per_node"]]
    return {name: report[name] for name in kept} | {"cumulative_reward_per_node": rewards}


def by_kind(case: Case, values: Sequence[float]) -> dict[str, float]:
    """Mean over the nodes of each kind."""
    return {
        kind: statistics.mean(value for each, value in zip(case.kinds, values, strict=True) if each == kind)
        for kind in dict.fromkeys(case.kinds)
    }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation over seeds, and the values."""
    return {
        "mean": round(statistics.mean(values), 4),
        "spread": round(statistics.stdev(values), 4) if len(values) > 1 else None,
        "values": [round(value, 4) for value in values],
    }


def figures(part: Sequence[Case], runs: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Of one part: per swarm and kind of node the accuracy before and after; per kind the gain over the same nodes alone."""
    found: dict[str, Any] = {}
    for case in part:
        after = [by_kind(case, run[case.name]["eval_after_per_node"]) for run in runs]
        before = [by_kind(case, run[case.name]["eval_before_per_node"]) for run in runs]
        found[case.name] = {
            kind: {"before": round(before[0][kind], 4), "after": summary([each[kind] for each in after])} for kind in after[0]
        }
    together, *others = part
    for case in others:
        pairs = [
            (by_kind(together, run[together.name]["eval_after_per_node"]), by_kind(case, run[case.name]["eval_after_per_node"]))
            for run in runs
        ]
        found[f"together over {case.name}"] = {
            kind: summary([ours[kind] / theirs[kind] for ours, theirs in pairs]) for kind in pairs[0][1]
        }
    return found


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """The runs that the file holds, by what was run; a line that was cut off by a kill is left out."""
    runs = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        runs[entry["key"]] = entry["run"]
    return runs


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("speed", "strength", "families", "tasks")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--strong", default="embedded", help="base model of the strong node, and of one family")
    parser.add_argument("--weak", help="folder of the weak nodes' base model")
    parser.add_argument("--other", help="folder of the other family's base model")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all nodes")
    parser.add_argument("--runs", type=Path, default=Path("unequal.jsonl"))
    options = parser.parse_args()
    if ("strength" in options.parts and not options.weak) or ("families" in options.parts and not options.other):
        parser.error("strength needs --weak DIR, families needs --other DIR; benchmarks.make_embedded makes both")
    settings = dict(each.split("=", 1) for each in options.set)
    chosen = {part: cases(part, options.strong, options.weak, options.other) for part in options.parts}

    def key(part: str, case: Case, seed: int) -> str:
        return json.dumps([part, case.name, seed, options.rounds, case.options, settings], sort_keys=True)

    runs = finished(options.runs)
    with options.runs.open("a") as file:
        # Seed by seed, so that whoever stops it early has something of everything.
        for seed, part in ((seed, part) for seed in options.seeds for part in chosen):
            for case in chosen[part]:
                if key(part, case, seed) in runs:
                    continue
                print(f"{part}, {case.name}, seed {seed}", file=sys.stderr, flush=True)
                runs[key(part, case, seed)] = made = run(case, seed, options.rounds, settings)
                print(json.dumps({"key": key(part, case, seed), "run": made}), file=file, flush=True)
    results = {
        part: figures(of, [{case.name: runs[key(part, case, seed)] for case in of} for seed in options.seeds])
        for part, of in chosen.items()
    }
    print(json.dumps({"rounds": options.rounds, "seeds": options.seeds, "settings": settings, **results}, indent=1))


if __name__ == "__main__":
    main()
