"""Grinding: an attacker cannot choose a task's seed, but shares only the tasks that suit it."""

from __future__ import annotations

from swarm.sim.attacks.attack import Attack, half_and_half
from swarm.sim.attacks.attacker import Attacker

# Indices looked at for each group that is shared.
SEARCHED = 48


def grind(attacker: Attacker, count: int) -> list[bytes]:
    """Solve the tasks with the shortest answers truly, so that nodes learn to say little."""
    groups = []
    for _ in range(count):
        # The last of the searched indices may be the best one: the share accounts for all of them.
        puzzle = min((attacker.puzzle() for _ in range(SEARCHED)), key=lambda puzzle: len(puzzle.right))
        groups.append(attacker.group(puzzle, half_and_half(attacker, puzzle, puzzle.framed(puzzle.right))))
    return [attacker.publish(groups)]


ATTACKS = {"grind": Attack("only tasks that suit the attacker, searched for", grind, lambda text, _: text == "-")}
