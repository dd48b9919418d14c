"""Copying: other nodes' completions as answers to own tasks, to save the work."""

from __future__ import annotations

from collections.abc import Callable

from swarm.sim.attacks.attack import Attack, Turn
from swarm.sim.attacks.attacker import Answer, Attacker


def copying(change: Callable[[Attacker, str], str]) -> Turn:
    """Copy an honest node's completions, changed, with true claims and one right answer."""

    def turn(attacker: Attacker, count: int) -> list[bytes]:
        groups = []
        for source in attacker.random.sample(list(attacker.heard), min(count, len(attacker.heard))):
            puzzle = attacker.puzzle(source.recipe.environment)
            texts = [change(attacker, completion.text) for completion in source.completions]
            answers = [Answer(text) for text in texts[1:]] + [Answer(puzzle.framed(puzzle.right))]
            groups.append(attacker.group(puzzle, answers))
        return [attacker.publish(groups)] if groups else []

    return turn


def _slightly(attacker: Attacker, text: str) -> str:
    """One sign said twice, where there is room for it."""
    place = attacker.random.randrange(max(len(text), 1))
    changed = text[:place] + text[place : place + 1] + text[place:]
    return changed if len(changed) < attacker.library.manifest.max_completion_tokens else text


ATTACKS = {
    "copy": Attack("other nodes' completions for own tasks", copying(lambda attacker, text: text)),
    "near-copy": Attack("other nodes' completions, one sign changed", copying(_slightly)),
}
