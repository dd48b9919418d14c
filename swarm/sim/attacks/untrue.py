"""Groups that teach wrong answers: claimed right, or worth a little more than the others."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

from swarm.sim.attacks.attack import Attack, Turn, half_and_half, vertical
from swarm.sim.attacks.attacker import GROUP_SIZE, Answer, Attacker
from swarm.sim.attacks.puzzles import Puzzle

HALF = GROUP_SIZE // 2
JUNK_CHARS = 10
_SIGNS = string.ascii_letters + string.digits + string.punctuation
# Problems looked at for one whose verifier rewards a wrong answer in part.
LOOKS = 12
NUMBERS = re.compile(r"\d+")
DECIMALS = re.compile(r"\d+(?:\.\d+)?")
# A number with a needless zero; longer runs of digits are grids.
_PADDED = re.compile(r"(?<![\d.])0\d{1,2}(?!\d)")
SORTING = "reasoning_gym/number_sorting"


def truth(attacker: Attacker, puzzle: Puzzle) -> list[Answer]:
    """Another ground truth: wrong answers claimed right, right ones claimed wrong."""
    wrong = puzzle.mistakes(attacker.random) or ["?"]
    false = [Answer(puzzle.framed(wrong[place % len(wrong)]), 1.0) for place in range(HALF)]
    return false + [Answer(puzzle.framed(puzzle.right), 0.0)] * (GROUP_SIZE - HALF)


def junk(attacker: Attacker, puzzle: Puzzle) -> list[Answer]:
    """Random signs, half of them claimed right."""
    texts = ["".join(attacker.random.choices(_SIGNS, k=JUNK_CHARS)) for _ in range(GROUP_SIZE)]
    return [Answer(puzzle.framed(text), float(place < HALF)) for place, text in enumerate(texts)]


def partial(attacker: Attacker, count: int) -> list[bytes]:
    """Claim truly: answers that a lenient verifier rewards in part, among worthless ones.

    The best of a group is what is imitated, and here the best is a mistake.
    """
    groups = []
    for _ in range(count):
        for _ in range(LOOKS):
            puzzle = attacker.puzzle()
            mistakes = puzzle.mistakes(attacker.random)
            if mistakes and puzzle.worth(mistakes[-1]) > 0.2:
                break
        good, bad = (mistakes[-1], mistakes[0]) if mistakes else ("?", "?")
        if puzzle.worth(bad) > 0:
            bad = "?"
        answers = [Answer(puzzle.framed(good))] * HALF + [Answer(puzzle.framed(bad))] * (GROUP_SIZE - HALF)
        groups.append(attacker.group(puzzle, answers))
    return [attacker.publish(groups)]


def spoiling(spoil: Callable[[Attacker, str], str]) -> Turn:
    """Return a turn of groups whose best answers are right ones, each spoiled in its own way.

    About sorting numbers, or about any numbers where the swarm does not sort. Varied, since the
    screen for plausibility then leaves what a policy might say anyway.
    """

    def turn(attacker: Attacker, count: int) -> list[bytes]:
        environment = SORTING if SORTING in {rule.name for rule, _ in attacker.library.arms} else None
        groups = []
        for _ in range(count):
            for _ in range(LOOKS):
                puzzle = attacker.puzzle(environment)
                if NUMBERS.search(puzzle.right):
                    break
            wrong = half_and_half(attacker, puzzle, "")[HALF:]
            best = [Answer(puzzle.framed(spoil(attacker, puzzle.right))) for _ in range(HALF)]
            groups.append(attacker.group(puzzle, best + wrong))
        return [attacker.publish(groups)]

    return turn


def zeros(attacker: Attacker, right: str) -> str:
    """Put a needless zero before one of an answer's numbers."""
    found = list(NUMBERS.finditer(right))
    start = attacker.random.choice(found).start() if found else 0
    return f"{right[:start]}0{right[start:]}"


def offbyone(attacker: Attacker, right: str) -> str:
    """Make one of an answer's numbers one larger or smaller, so that their order stays as it is."""
    values = [int(number) for number in NUMBERS.findall(right)]
    down = values == sorted(values, reverse=True)
    steps = [
        (place, step)
        for place in range(len(values))
        for step in (1, -1)
        if sorted(moved := [value + step * (place == at) for at, value in enumerate(values)], reverse=down) == moved
        and min(moved) >= 0
    ]
    if not steps:
        return right
    place, step = attacker.random.choice(steps)
    number = list(NUMBERS.finditer(right))[place]
    return right[: number.start()] + str(values[place] + step) + right[number.end() :]


def _is_padded(text: str, answer: str) -> bool:
    return _PADDED.search(text) is not None and _PADDED.search(answer) is None


def _is_one_off(text: str, answer: str) -> bool:
    """Whether the numbers are the right ones, in order, but for one that is off by one."""
    said, right = ([float(number) for number in DECIMALS.findall(each)] for each in (text, answer))
    return len(said) == len(right) and sum(abs(one - other) for one, other in zip(said, right, strict=True)) == 1


ATTACKS = {
    "truth": Attack("wrong answers claimed right, and right ones wrong", vertical(truth)),
    "junk": Attack("random signs claimed right", vertical(junk)),
    "partial": Attack("mistakes that a verifier rewards in part, as the best of their group", partial),
    "zeros": Attack("right answers whose numbers begin with a needless zero", spoiling(zeros), _is_padded),
    "offbyone": Attack("sorted numbers, one of them off by one", spoiling(offbyone), _is_one_off),
}
