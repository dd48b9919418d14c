"""Worked examples: tasks with answers, shown to the own policy as earlier turns before each task.

A model that was not made for a task's form solves nothing until it has seen the form, and what
never succeeds is never learned. So `policy.examples` of the environment's own problems stand before
each question, always the same ones for each level. None of them is held out.

They stay on this node: the task on the wire is the same recipe in the same rendering, and a foreign
group is trained on under this node's own view. So nodes with and without examples learn from each
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from protocols.manifest import Manifest
from protocols.recipe import Parameter
from swarm.records import Conversation, Task, Turn
from swarm.roles.proposer import levels, parameters_at
from swarm.tasks.scoring import Scorer

Level = tuple[str, tuple[tuple[str, Parameter], ...]]


@dataclass(frozen=True, slots=True)
class Examples:
    """The turns before the tasks of an environment at one level; no turns if `before` lacks it."""

    before: Mapping[Level, Conversation] = field(default_factory=dict, hash=False)

    def shown(self, task: Task, rendering: str) -> Conversation:
        """Return the prompt for the own policy."""
        before = self.before.get(_level(task.recipe.environment, task.recipe.parameters), ())
        return (*before, Turn("user", task.prompts[rendering]))


NO_EXAMPLES = Examples()


async def gather_examples(scorer: Scorer, manifest: Manifest, rendering: str, count: int) -> Examples:
    """Build up to `count` examples for every environment of the swarm, at each of its levels.

    An environment without known answers in this rendering gets no examples. Raises `ChildFailed`
    for an environment that is refused here.
    """
    if count == 0:
        return NO_EXAMPLES
    before = {}
    for rule in manifest.environments:
        for level in levels(rule):
            parameters = parameters_at(rule, level)
            pairs = await scorer.examples(rule.name, parameters, count, rendering)
            before[_level(rule.name, parameters)] = tuple(
                turn for prompt, answer in pairs for turn in (Turn("user", prompt), Turn("assistant", answer))
            )
    return Examples(before)


def _level(environment: str, parameters: Iterable[tuple[str, Parameter]]) -> Level:
    return environment, tuple(sorted((name, value) for name, value in parameters))
