"""Held-out accuracy: how often the policy's likeliest answer is right on prompts that no node ever trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.manifest import Manifest
from protocols.recipe import Parameter
from swarm.policy.policy import Policy
from swarm.records import Task
from swarm.roles.examples import NO_EXAMPLES, Examples
from swarm.roles.proposer import levels, parameters_at
from swarm.tasks.scoring import Scorer

EVALUATION_SEED = 20260101


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out tasks of one environment at one level; `asked` for so many, fewer where the domain is small."""

    environment: str
    parameters: tuple[tuple[str, Parameter], ...]
    asked: int
    seed: int
    tasks: tuple[Task, ...]


async def held_out_set(scorer: Scorer, manifest: Manifest, per_environment: int, seed: int = EVALUATION_SEED) -> list[HeldOut]:
    """About `per_environment` distinct held-out tasks for every environment of a swarm, spread evenly over its levels."""
    blocks = []
    for rule in manifest.environments:
        allowed = levels(rule)
        for level in allowed:
            parameters = parameters_at(rule, level)
            asked = max(1, per_environment // len(allowed))
            tasks = await scorer.held_out(rule.name, parameters, asked, seed)
            blocks.append(HeldOut(rule.name, parameters, asked, seed, tuple(tasks)))
    return blocks


async def accuracy(
    policy: Policy,
    scorer: Scorer,
    blocks: Sequence[HeldOut],
    rendering: str,
    max_tokens: int,
    examples: Examples = NO_EXAMPLES,
) -> dict[str, float]:
    """Share of held-out tasks solved (reward 1) per environment; greedy decoding."""
    answers = await solved(policy, scorer, blocks, rendering, max_tokens, examples)
    return {environment: sum(each) / len(each) for environment, each in answers.items()}


async def solved(
    policy: Policy,
    scorer: Scorer,
    blocks: Sequence[HeldOut],
    rendering: str,
    max_tokens: int,
    examples: Examples = NO_EXAMPLES,
) -> dict[str, list[bool]]:
    """For every environment, sorted, which of its held-out tasks the policy solves; greedy decoding."""
    prompts = [examples.shown(task, rendering) for block in blocks for task in block.tasks]
    answers = iter(await policy.answer(prompts, max_completion_length=max_tokens))
    right: dict[str, list[bool]] = {}
    for block in filter(lambda block: block.tasks, blocks):
        texts = [next(answers) for _ in block.tasks]
        rewards = await scorer.score_held_out(block.environment, block.parameters, block.asked, block.seed, rendering, texts)
        right.setdefault(block.environment, []).extend(reward >= 1.0 for reward in rewards)
    return dict(sorted(right.items()))
