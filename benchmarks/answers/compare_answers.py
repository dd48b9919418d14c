"""How often a dataset's own answer is wrong: solves its problems anew, and compares.

`python -m benchmarks.answers.compare_answers --problems 500` prints for each dataset that can be
decided: the problems looked at, those of which the dataset gives no answer, the answers that differ
from the solver's, the problems that swarmd refuses for it, the answers that still differ in what it
asks, and an example. The solvers are written from the questions, not from the datasets' code. From
the metadata they take the question's own data only.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from decimal import Context, localcontext
from itertools import islice
from typing import Any

from reasoning_gym.factory import create_dataset

from benchmarks.answers import board_solvers, number_solvers, text_solvers
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym, configurations
from swarm.tasks.rewards.judged import JUDGED, SEVERAL, is_right
from swarm.tasks.rewards.own_answers import CHECKED, REPAIRED, own_answer

Item = Mapping[str, Any]
Solver = Callable[[Item], str | bool]  # the right answer, or whether the dataset's is right


SOLVERS: Mapping[str, Solver] = {
    "ab": text_solvers.rewritten,
    "advanced_geometry": number_solvers.triangle,
    "base_conversion": number_solvers.in_base,
    "basic_arithmetic": number_solvers.value,
    "bf": text_solvers.machine,
    "binary_alternation": number_solvers.swaps,
    "binary_matrix": board_solvers.distances,
    "caesar_cipher": lambda item: item["metadata"]["clear_text"],
    "calendar_arithmetic": number_solvers.calendar,
    "chain_sum": number_solvers.value,
    "circuit_logic": text_solvers.circuit,
    "coin_flip": number_solvers.coins,
    "color_cube_rotation": text_solvers.cube,
    "count_bits": lambda item: str(int(item["metadata"]["number"]).bit_count()),
    "count_primes": number_solvers.primes,
    "course_schedule": text_solvers.finishes,
    "decimal_chain_sum": number_solvers.decimal_sum,
    "dice": number_solvers.dice,
    "emoji_mystery": text_solvers.hidden_sentence,
    "game_of_life": board_solvers.lived,
    "game_of_life_halting": board_solvers.halts,
    "fraction_simplification": number_solvers.reduced,
    "gcd": lambda item: str(math.gcd(*item["metadata"]["numbers"])),
    "group_anagrams": text_solvers.grouped,
    "knights_knaves": text_solvers.knights,
    "largest_island": board_solvers.island,
    "lcm": lambda item: str(math.lcm(*item["metadata"]["numbers"])),
    "letter_counting": text_solvers.letters,
    "maze": board_solvers.maze,
    "number_filtering": text_solvers.filtered,
    "number_sorting": text_solvers.numbers_in_order,
    "palindrome_partitioning": lambda item: json.dumps(list(text_solvers.partitions(item["metadata"]["string"]))),
    "path_star": text_solvers.star,
    "prime_factorization": number_solvers.factorized,
    "products": number_solvers.value,
    "rotate_matrix": board_solvers.rotated,
    "rotten_oranges": board_solvers.oranges,
    "self_reference": text_solvers.references,
    "shortest_path": board_solvers.path,
    "simple_equations": number_solvers.linear,
    "simple_geometry": number_solvers.polygon,
    "spell_backward": lambda item: item["metadata"]["word"][::-1],
    "spiral_matrix": board_solvers.spiral,
    "string_insertion": text_solvers.inserted,
    "word_sequence_reversal": lambda item: ", ".join(item["metadata"]["words"][::-1]),
    "word_sorting": text_solvers.by_order,
}

# Datasets whose judge plays or computes: it is the solver.
PLAYED = {name for name, kind in JUDGED.items() if kind.answers == SEVERAL} | {"number_format", "pool_matrix", "quantum_lock"}
DECIDED = sorted({*SOLVERS, *PLAYED, *CHECKED, *REPAIRED})


def agrees(name: str, item: Item, answer: str) -> bool:
    """Whether `answer` is what a solver, the judge or the check of its own says."""
    mine = dict(item) | {"answer": answer}
    if name in SOLVERS:
        solved = SOLVERS[name](mine)
        return solved if isinstance(solved, bool) else is_right(name, solved, mine)
    right = own_answer(name, item)
    return right is not None and is_right(name, answer, dict(item) | {"answer": right})


def compare(name: str, problems: int) -> dict[str, Any]:
    """Compare a dataset's own answers over all levels: as it gives them, and as they are asked."""
    result: dict[str, Any] = {"problems": 0, "without_answer": 0, "wrong": 0, "refused": 0, "wrong_when_asked": 0}
    levels = configurations(name)
    for level, configuration in enumerate(levels):
        for seed in islice(walk(level), -(-problems // len(levels))):
            try:
                with localcontext(Context()):
                    item = create_dataset(name, **(configuration | {"seed": seed >> 32, "size": 1}))[0]
            except Exception:  # noqa: BLE001 - the generator gave up, in one of its many ways
                continue
            result["problems"] += 1
            answer, asked = item["answer"] or item["metadata"].get("example_answer", ""), own_answer(name, item)
            if not answer:
                result["without_answer"] += 1
                continue
            wrong = not agrees(name, item, str(answer))
            result["wrong"] += wrong
            result["refused"] += asked is None
            result["wrong_when_asked"] += bool(asked) and not agrees(name, item, str(asked))
            if wrong:
                result.setdefault("example", [item["question"][-400:], answer])
    return result


def main() -> None:
    """Print the comparison of each dataset as JSON."""
    parser = argparse.ArgumentParser(description="compare datasets' own answers with independent solvers")
    parser.add_argument("--problems", type=int, default=200, help="per dataset, over its levels")
    parser.add_argument("--datasets", nargs="*", default=DECIDED)
    arguments = parser.parse_args()
    with redirect_stdout(sys.stderr):  # some datasets print
        found = {name: compare(name, arguments.problems) for name in arguments.datasets}
    undecided = sorted(set(ReasoningGym().names()) - set(DECIDED))
    print(json.dumps({"datasets": found, "undecided": undecided}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
