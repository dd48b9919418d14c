"""What every attack reaches, defended and undefended: `python -m benchmarks.attacks`.

Runs the matrix {no attack, each attack} x {defended, undefended} x seeds on the in-memory network.
Every finished run is one line of a file (--runs) and is not made again. Runs without an attack have
the same honest nodes, and nobody else. A round takes a minute of virtual time, and a checkpoint is
written every five: so signers get established, and the regression guard looks often. Prints JSON,
per attack and defence the mean over seeds and the spread (standard deviation) of:

    pattern      rate of the attack's pattern in the honest nodes' own answers of the last rounds
    pattern_base the same rate in the run without attackers
    length       mean length of their held-out answers over that of the run without attackers
    held_out     their held-out accuracy over that of the run without attackers
    weight       the attackers' share of the foreign weight in training
    weight_last  the same in the last third of the rounds
    honest_back  where attackers help at first, and then fall silent or turn: the rounds after that
                 until every node had .6 of a batch from honest peers, None if one never had
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiment.cases import NOT_NICE
from benchmarks.experiment.program import add_settings, end, experiment_parser, given, positive
from benchmarks.experiment.runs import Command, make_rows, sim_command
from benchmarks.experiment.table import summaries, summary
from swarm.sim.attacks.helping import HELP_ROUNDS
from swarm.sim.options import ATTACK_PACE, ATTACKS

ENOUGH = 0.6
HELPING = ("vanish", "turn")
NONE = "none"
SIDES = {True: "defended", False: "undefended"}
KEPT = (
    "wall_s", "eval_before", "eval_after", "eval_answer_chars_before", "eval_answer_chars_after", "patterns_first",
    "patterns_last", "reward_per_round", "delivery_ratio", "refused", "rollbacks", "groups_left_out", "attack", "digest",
)  # fmt: skip


def command(attack: str, side: bool, seed: int, options: argparse.Namespace) -> Command:
    """Return one run's command line of `swarmd`."""
    if attack == NONE:
        who: dict[str, object] = {"--nodes": options.nodes - options.attackers}
    else:
        who = {"--nodes": options.nodes, "--attack": attack, "--attackers": options.attackers}
    asked = {"--rounds": options.rounds, "--seed": seed, "--network": "memory"}
    settings = {"swarm.manifest": "scratch", **ATTACK_PACE, **NOT_NICE, **given(options)}
    return sim_command(who | asked | ({} if side else {"--undefended": True}), settings)


def figures(attacked: Mapping[str, Any], calm: Mapping[str, Any]) -> dict[str, float | None]:
    """Compare one run with the run without attackers."""
    name = attacked["attack"]["name"] if attacked["attack"] else ""
    return {
        "pattern": attacked["patterns_last"].get(name),
        "pattern_base": calm["patterns_last"].get(name),
        "length": attacked["eval_answer_chars_after"] / calm["eval_answer_chars_after"],
        "held_out": attacked["eval_after"] / calm["eval_after"],
        "weight": attacked["attack"]["weight_share"] if attacked["attack"] else None,
        "weight_last": attacked["attack"]["weight_share_per_third"][-1] if attacked["attack"] else None,
        "honest_back": _honest_back(attacked["attack"]["honest_share_per_round_per_node"]) if name in HELPING else None,
    }


def _honest_back(shares: Sequence[Sequence[float]]) -> int | None:
    """Return after how many rounds without help the last node had enough from honest peers."""
    after = [node[HELP_ROUNDS + 1 :] for node in shares]
    back = [next((rounds for rounds, share in enumerate(node, 1) if share >= ENOUGH), None) for node in after]
    return None if None in back else max(each for each in back if each is not None)


def main() -> None:
    """Make the runs that are missing, then print one JSON object."""
    parser = experiment_parser(__doc__, "attacks.jsonl")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=list(ATTACKS))
    parser.add_argument("--rounds", type=positive, default=60)
    parser.add_argument("--nodes", type=positive, default=8)
    parser.add_argument("--attackers", type=positive, default=2)
    add_settings(parser, "every node")
    parser.add_argument("--only", choices=list(SIDES.values()), help="half of the matrix")
    options = parser.parse_args()
    sides = [side for side in (True, False) if options.only in (None, SIDES[side])]
    rows = {
        (attack, side): [command(attack, side, seed, options) for seed in options.seeds]
        for attack in (NONE, *options.attacks)
        for side in sides
    }
    reports = make_rows(rows, options.runs, KEPT, options.jobs)

    def compared(attack: str, side: bool) -> dict[str, Any]:
        return summaries([figures(*pair) for pair in zip(reports[attack, side], reports[NONE, side], strict=True)])

    calm = {SIDES[side]: summary([report["eval_after"] for report in reports[NONE, side]]) for side in sides}
    results = {attack: {SIDES[side]: compared(attack, side) for side in sides} for attack in options.attacks}
    asked = {name: getattr(options, name) for name in ("rounds", "nodes", "attackers", "seeds")}
    print(json.dumps({**asked, "held_out_without_attack": calm, **results}, indent=1))


if __name__ == "__main__":
    end(main)
