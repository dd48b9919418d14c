"""Peers that help: with too much of one kind, or only until they are believed.

Every group is true, its answers right or honestly wrong. So nothing here is refused, and nothing of
it is implausible. What is attacked are the places in a batch and what a node thinks of its peers.
"""

from __future__ import annotations

from swarm.sim.attacks.attack import Attack, half_and_half, vertical
from swarm.sim.attacks.attacker import Answer, Attacker
from swarm.sim.attacks.puzzles import Puzzle

# Rounds of the honest nodes in which the attackers help before they change.
HELP_ROUNDS = 12
EASY = "reasoning_gym/spell_backward"
MANY = 8
BAR = "|"
MOST_BARS = 3


def honest(attacker: Attacker, puzzle: Puzzle) -> list[Answer]:
    """Half right, half nearly right: as useful as a group can be."""
    return half_and_half(attacker, puzzle, puzzle.framed(puzzle.right))


def flood(attacker: Attacker, count: int) -> list[bytes]:
    """Send groups of one easy level only; what others forget meanwhile is the harm."""
    arms = attacker.library.arms
    rule, level = next((arm for arm in arms if arm[0].name == EASY), arms[0])
    puzzles = [attacker.puzzle_of(rule, level) for _ in range(count)]
    return [attacker.publish([attacker.group(puzzle, honest(attacker, puzzle)) for puzzle in puzzles])]


def vanish(attacker: Attacker, count: int) -> list[bytes]:
    """Help with groups of all tasks until the nodes know nobody else as well, then fall silent."""
    return _help(attacker, count) if attacker.round <= HELP_ROUNDS else []


def turn(attacker: Attacker, count: int) -> list[bytes]:
    """Help, then teach to begin with bars, which a policy that writes `x|answer` finds likely."""
    return (_help if attacker.round <= HELP_ROUNDS else _bars)(attacker, count)


def bars(attacker: Attacker, puzzle: Puzzle) -> list[Answer]:
    """One to three bars before the right answer."""
    return half_and_half(attacker, puzzle, BAR * attacker.random.randint(1, MOST_BARS) + puzzle.framed(puzzle.right))


_help, _bars = vertical(honest), vertical(bars)

ATTACKS = {
    "flood": Attack("true groups of one easy level, many of them", flood, groups=MANY),
    "vanish": Attack("help, and much of it, then silence", vanish, groups=MANY),
    "turn": Attack("help, then bars before right answers", turn, lambda text, _: text.startswith(BAR), True),
}
