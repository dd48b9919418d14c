"""Selects, of several alternatives, the task that the own policy solves about half of the time.

A task that does not fit is passed over: its prompt leaves no room for an answer, or its known
solution is longer than answers may be.

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
from dataclasses import dataclass

from swarm.policy.policy import Policy
from swarm.records import Task
from swarm.roles.view import View

HALF = 0.5


@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks to be solved, one of a place, and those for which the model has no room."""

    tasks: list[Task]
    passed_over: list[Task]


async def select(policy: Policy, places: Sequence[Sequence[Task]], view: View) -> Selection:
    """Choose one task of each place that has any for which the model has room: its likelihood is
    nearest to a half.

    A place's first such task is taken if there is no choice, or no solution known in this
    rendering.
    """
    everything = [task for place in places for task in place]
    room = await policy.fits(
        [view.prompt(task) for task in everything],
        [task.solutions.get(view.rendering) for task in everything],
        view.max_tokens,
    )
    passed_over = [task for task, fits in zip(everything, room, strict=True) if not fits]
    outside = {task.recipe for task in passed_over}
    fitting = [[task for task in place if task.recipe not in outside] for place in places]
    told = [task for place in fitting for task in place if len(place) > 1 and view.rendering in task.solutions]
    prompts, solutions = [view.prompt(task) for task in told], [task.solutions[view.rendering] for task in told]
    found = await policy.log_likelihoods(prompts, solutions)
    distance = {task.recipe: abs(math.exp(each) - HALF) for task, each in zip(told, found, strict=True)}
    chosen = [min(place, key=lambda task: distance.get(task.recipe, HALF)) for place in fitting if place]
    return Selection(chosen, passed_over)
