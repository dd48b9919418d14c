"""Selects, of several alternatives, the task that the own policy solves about half of the time.

A group teaches by the spread of its rewards. Finding that out by trying costs G completions, one
forward pass per token. The policy's likelihood of a task's solution costs one pass for all
alternatives together. If a task has one right answer and no text around it, the likelihood *is* the
pass rate. With several right answers, or reasoning first, it is lower. The alternatives of one
place are of one environment, so their order still tells the easy from the hard.

Measured on the embedded model's tasks (docs/lab-log.md): four alternatives for each task leave a
third as many groups without an advantage as uniform proposing, at a twentieth of a round's CPU
time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from swarm.policy.policy import Policy
from swarm.records import Task
from swarm.roles.view import View

HALF = 0.5


async def select(policy: Policy, places: Sequence[Sequence[Task]], view: View) -> list[Task]:
    """Return one task of each place: its likelihood is nearest to a half.

    A place's first task is returned if there is no choice, or no solution known in this rendering.
    """
    told = [task for place in places for task in place if len(place) > 1 and view.rendering in task.solutions]
    prompts, solutions = [view.prompt(task) for task in told], [task.solutions[view.rendering] for task in told]
    found = await policy.log_likelihoods(prompts, solutions)
    distance = {task.recipe: abs(math.exp(each) - HALF) for task, each in zip(told, found, strict=True)}
    return [min(place, key=lambda task: distance.get(task.recipe, HALF)) for place in places]
