"""Which of several alternatives to solve: the one that the own policy gets right about half of the time, known beforehand.

A group teaches by the spread of its rewards, and to find that out by trying costs G completions, one forward pass per token.
How likely the policy is to give a task's solution costs one pass for all alternatives together. Where a task has one right
answer and nothing is said around it, this *is* the pass rate. Where several answers are right, or reasoning comes first, it is
lower; the alternatives of one place are of one environment, so their order still tells the easy from the hard.

Measured on the embedded model's tasks (docs/lab-log.md): four alternatives for each task leave a third as many groups
without an advantage as uniform proposing, at a twentieth of a round's CPU time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from swarm.policy.policy import Policy
from swarm.records import Task
from swarm.roles.view import View

HALF = 0.5


async def select(policy: Policy, places: Sequence[Sequence[Task]], view: View) -> list[Task]:
    """Return one task of each place; the first where there is nothing to choose, or the view's template has no known solution."""
    told = [task for place in places for task in place if len(place) > 1 and view.rendering in task.solutions]
    prompts, solutions = [view.prompt(task) for task in told], [task.solutions[view.rendering] for task in told]
    found = await policy.log_likelihoods(prompts, solutions)
    distance = {task.recipe: abs(math.exp(each) - HALF) for task, each in zip(told, found, strict=True)}
    return [min(place, key=lambda task: distance.get(task.recipe, HALF)) for place in places]
