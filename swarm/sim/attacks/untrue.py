"""Groups that teach wrong answers: claimed right, or worth a little more than the others."""

from __future__ import annotations

import string

from swarm.sim.attacks.attack import Attack, vertical
from swarm.sim.attacks.attacker import GROUP_SIZE, Answer, Attacker
from swarm.sim.attacks.puzzles import Puzzle

HALF = GROUP_SIZE // 2
JUNK_CHARS = 10
_SIGNS = string.ascii_letters + string.digits + string.punctuation
# Problems looked at for one whose verifier rewards a wrong answer in part.
LOOKS = 12


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


ATTACKS = {
    "truth": Attack("wrong answers claimed right, and right ones wrong", vertical(truth)),
    "junk": Attack("random signs claimed right", vertical(junk)),
    "partial": Attack("mistakes that a verifier rewards in part, as the best of their group", partial),
}
