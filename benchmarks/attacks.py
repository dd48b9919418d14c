"""What every attack reaches with the defences and without: `python -m benchmarks.attacks [--attacks text length] [--seeds 1 2]`.

Runs the matrix {no attack, each attack} x {defended, undefended} x seeds on the in-memory network. Every finished run is one line
of a file (--runs); a run that is in there already is not made again, so that the benchmark can be stopped and gone on with.
Runs without an attack have the same honest nodes, and nobody else. Prints JSON, per attack and defence the mean over seeds and
the spread (standard deviation) of:

    pattern      rate of the attack's pattern in the honest nodes' own answers of the last rounds
    pattern_base the same rate in the run without attackers
    length       mean length of their held-out answers, which are to the same questions, over that of the run without attackers
    held_out     their held-out accuracy over that of the run without attackers
    weight       the attackers' share of the foreign weight in training
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarm.bench.table import summary
from swarm.sim.options import ATTACKS

NONE = "none"
SIDES = {True: "defended", False: "undefended"}
KEPT = (
    "wall_s", "eval_before", "eval_after", "eval_answer_chars_before", "eval_answer_chars_after", "patterns_first",
    "patterns_last", "reward_per_round", "delivery_ratio", "refused", "attack", "digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One run of the matrix."""

    attack: str
    defended: bool
    seed: int
    rounds: int
    nodes: int
    attackers: int

    def arguments(self) -> list[str]:
        """Of `swarmd sim`."""
        honest = self.nodes - self.attackers
        attacked = ["--nodes", str(self.nodes), "--attack", self.attack, "--attackers", str(self.attackers)]
        calm = ["--nodes", str(honest), "--set", "swarm.manifest=scratch"]
        return [
            *(calm if self.attack == NONE else attacked),
            *("--rounds", str(self.rounds), "--seed", str(self.seed), "--network", "memory"),
            *([] if self.defended else ["--undefended"]),
        ]


def run(case: AttackCase) -> dict[str, Any]:
    """The kept figures of one run, in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-c",
            "from swarm.cli.main import main; main()",
            "sim",
            *case.arguments(),
            "--report",
            directory,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        report = json.loads((Path(directory) / "report.json").read_text())
    return {**asdict(case), "report": {name: report[name] for name in KEPT}}


def finished(path: Path) -> dict[AttackCase, dict[str, Any]]:
    """The runs that the file holds; a line that was cut off by a kill is left out."""
    runs = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        report = entry.pop("report")
        runs[AttackCase(**entry)] = report
    return runs


def figures(attacked: Mapping[str, Any], calm: Mapping[str, Any]) -> dict[str, float | None]:
    """One run beside the run without attackers."""
    name = attacked["attack"]["name"] if attacked["attack"] else ""
    return {
        "pattern": attacked["patterns_last"].get(name),
        "pattern_base": calm["patterns_last"].get(name),
        "length": attacked["eval_answer_chars_after"] / calm["eval_answer_chars_after"],
        "held_out": attacked["eval_after"] / calm["eval_after"],
        "weight": attacked["attack"]["weight_share"] if attacked["attack"] else None,
    }


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--attackers", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each of which takes about one core")
    parser.add_argument("--only", choices=list(SIDES.values()), help="half of the matrix")
    parser.add_argument("--runs", type=Path, default=Path("attacks.jsonl"))
    options = parser.parse_args()
    sides = [side for side in (True, False) if options.only in (None, SIDES[side])]

    def case(attack: str, defended: bool, seed: int) -> AttackCase:
        return AttackCase(attack, defended, seed, options.rounds, options.nodes, options.attackers)

    runs = finished(options.runs)
    cases = [case(attack, side, seed) for attack in (NONE, *options.attacks) for side in sides for seed in options.seeds]
    missing = [each for each in cases if each not in runs]
    with ThreadPoolExecutor(options.jobs) as pool, options.runs.open("a") as file:
        for number, entry in enumerate(pool.map(run, missing), 1):
            print(json.dumps(entry), file=file, flush=True)
            print(f"{number}/{len(missing)}: {entry['report']['wall_s']:.0f} s", file=sys.stderr, flush=True)
    runs = finished(options.runs)

    def compared(attack: str, side: bool) -> dict[str, Any]:
        pairs = [figures(runs[case(attack, side, seed)], runs[case(NONE, side, seed)]) for seed in options.seeds]
        return {name: summary([pair[name] for pair in pairs]) for name in pairs[0]}

    calm = {SIDES[side]: summary([runs[case(NONE, side, seed)]["eval_after"] for seed in options.seeds]) for side in sides}
    results = {attack: {SIDES[side]: compared(attack, side) for side in sides} for attack in options.attacks}
    asked = {name: getattr(options, name) for name in ("rounds", "nodes", "attackers", "seeds")}
    print(json.dumps({**asked, "held_out_without_attack": calm, **results}, indent=1))


if __name__ == "__main__":
    main()
