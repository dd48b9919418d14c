"""Solves tasks: all completions of a round in one batched call to the policy."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.config.schema import GenerationSection
from swarm.policy.policy import Policy
from swarm.records import SolvedGroup, Task
from swarm.roles.examples import NO_EXAMPLES, Examples


async def solve(
    policy: Policy,
    tasks: Sequence[Task],
    rendering: str,
    settings: GenerationSection,
    max_tokens: int,
    seed: int,
    examples: Examples = NO_EXAMPLES,
) -> list[SolvedGroup]:
    """One group of `num_generations` samples per task, in order; `max_tokens` caps each completion."""
    if not tasks:
        return []
    samples = await policy.generate(
        [examples.shown(task, rendering) for task in tasks],
        num_generations=settings.num_generations,
        max_completion_length=max_tokens,
        temperature=settings.temperature,
        seed=seed,
    )
    return [SolvedGroup(task, rendering, policy.generated_by, group) for task, group in zip(tasks, samples, strict=True)]
