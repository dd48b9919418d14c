"""Solver and evaluator: groups stay whole and in order; a failing verifier costs its own group
only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from swarm_shapes import NOW_MS, POLICY, Judge, Peer, task_of

from protocols.messages import Completion
from protocols.recipe import Recipe
from swarm.config.schema import GenerationSection
from swarm.records import Conversation, Sample, SolvedGroup, Turn
from swarm.roles.evaluator import evaluate
from swarm.roles.solver import solve
from swarm.roles.view import View

KEY = Peer(1).key


def solved(index: int, *texts: str) -> SolvedGroup:
    samples = tuple(Sample(Completion(text, True, 2, -1.0), (index, position)) for position, text in enumerate(texts))
    return SolvedGroup(task_of(Recipe("toy/add", "1", (("level", 0),), 1, KEY, index)), "compact", POLICY, samples)


class JudgingScorer:
    def __init__(self) -> None:
        self.judge = Judge()

    async def score(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Any:
        return await self.judge(recipe, seed, rendering, texts)


async def test_groups_are_scored_in_order_and_carry_what_training_needs() -> None:
    scorer = JudgingScorer()
    groups = await evaluate(scorer, [solved(0, "right", "no"), solved(1, "no", "right!")], KEY, NOW_MS)  # type: ignore[arg-type]
    assert [group.rewards for group in groups] == [(1.0, 0.0), (0.0, 1.0)]
    first = groups[0]
    assert (first.signer, first.envelope, first.received_ms, first.policy) == (KEY, b"", NOW_MS, POLICY)
    assert first.token_ids == ((0, 0), (0, 1))
    assert [each.text for each in first.completions] == ["right", "no"]
    assert {call[1] for call in scorer.judge.calls} == {first.task.seed}


async def test_a_group_whose_verifier_fails_is_left_out() -> None:
    groups = [solved(0, "right", "no"), solved(1, "slow"), solved(2, "broken"), solved(3, "no", "no")]
    scored = await evaluate(JudgingScorer(), groups, KEY, NOW_MS)  # type: ignore[arg-type]
    assert [group.task.recipe.index for group in scored] == [0, 3]
    assert await evaluate(JudgingScorer(), [], KEY, NOW_MS) == []  # type: ignore[arg-type]


class CountingPolicy:
    generated_by = POLICY

    def __init__(self) -> None:
        self.calls: list[tuple[list[Conversation], dict[str, Any]]] = []

    async def generate(self, prompts: list[Conversation], **settings: Any) -> list[tuple[Sample, ...]]:
        self.calls.append((prompts, settings))
        return [solved(index, turn.content, "x").samples for index, (turn,) in enumerate(prompts)]


@pytest.mark.parametrize("rendering", ["compact", "prose"])
async def test_all_completions_of_a_round_are_one_call(rendering: str) -> None:
    policy = CountingPolicy()
    tasks = [solved(index, "a").task for index in range(3)]
    groups = await solve(policy, tasks, View(rendering, 9), GenerationSection(num_generations=2, temperature=0.7), 5)  # type: ignore[arg-type]
    prompts = [task.prompts[rendering] for task in tasks]
    shown = [(Turn("user", prompt),) for prompt in prompts]
    assert policy.calls == [(shown, {"num_generations": 2, "max_completion_length": 9, "temperature": 0.7, "seed": 5})]
    assert [(group.task, group.rendering, group.policy) for group in groups] == [(task, rendering, POLICY) for task in tasks]
    assert [group.samples[0].completion.text for group in groups] == prompts


async def test_no_tasks_need_no_call() -> None:
    policy = CountingPolicy()
    assert await solve(policy, [], View("compact", 9), GenerationSection(), 5) == []  # type: ignore[arg-type]
    assert policy.calls == []
