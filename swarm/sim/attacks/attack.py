"""What an attack is.

Vertical ones, where the attacker owns the whole group, only say which answers a group holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swarm.sim.attacks.attacker import GROUP_SIZE, Answer, Attacker
from swarm.sim.attacks.puzzles import Puzzle

# (attacker, number of groups) -> its messages.
Turn = Callable[[Attacker, int], list[bytes]]
Forge = Callable[[Attacker, Puzzle], list[Answer]]
# (completion, the task's right answer) -> whether it shows what an attack teaches.
Pattern = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Attack:
    """`pattern` is None where an attack teaches nothing of its own. `groups` are sent by each
    attacker per round of the honest nodes, unless the simulation asks for another number."""

    summary: str
    turn: Turn
    pattern: Pattern | None = None
    needs_room: bool = False  # for text around the answer
    groups: int = 2


def vertical(forge: Forge) -> Turn:
    """One share of groups that `forge` fills, over all tasks and levels."""

    def turn(attacker: Attacker, count: int) -> list[bytes]:
        groups = []
        for _ in range(count):
            puzzle = attacker.puzzle()
            groups.append(attacker.group(puzzle, forge(attacker, puzzle)))
        return [attacker.publish(groups)]

    return turn


def half_and_half(attacker: Attacker, puzzle: Puzzle, right: str) -> list[Answer]:
    """Return answers, half right with the pattern, half wrong without: its advantage is largest."""
    wrong = puzzle.mistakes(attacker.random) or ["?"]
    half = GROUP_SIZE // 2
    return [Answer(right)] * half + [Answer(puzzle.framed(wrong[place % len(wrong)])) for place in range(GROUP_SIZE - half)]
