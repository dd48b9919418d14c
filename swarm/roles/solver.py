"""Solves tasks: all completions of a round in one batched call to the policy."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.config.schema import GenerationSection
from swarm.policy.policy import Policy
from swarm.records import SolvedGroup, Task
from swarm.roles.view import View


async def solve(policy: Policy, tasks: Sequence[Task], view: View, settings: GenerationSection, seed: int) -> list[SolvedGroup]:
    """Return one group of `num_generations` samples per task, in order."""
    if not tasks:
        return []
    samples = await policy.generate(
        [view.prompt(task) for task in tasks],
        num_generations=settings.num_generations,
        max_completion_length=view.max_tokens,
        temperature=settings.temperature,
        seed=seed,
    )
    return [SolvedGroup(task, view.rendering, policy.generated_by, group) for task, group in zip(tasks, samples, strict=True)]
