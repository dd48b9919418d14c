"""Worked examples: true ones, never held-out ones, and seen by the own policy only."""

from __future__ import annotations

import dataclasses

import pytest
from swarm_shapes import Peer, task_of

from protocols.manifest import EnvironmentRule, Manifest, Range
from protocols.recipe import Recipe
from swarm.config.manifest_lookup import built_in
from swarm.records import Task, Turn
from swarm.roles.examples import NO_EXAMPLES, Examples, gather_examples
from swarm.tasks.compact import COMPACT
from swarm.tasks.held_out import example_problems, held_out, problem_key
from swarm.tasks.reasoning import ReasoningGym

GYM = ReasoningGym()


@pytest.mark.parametrize("name", [*sorted(COMPACT), "chain_sum", "base_conversion"])
def test_examples_are_right_in_every_rendering_and_none_is_held_out(name):
    problems = example_problems(GYM, "reasoning_gym", name, 0, 4)
    assert len({problem.question for problem in problems}) == 4
    assert problems == example_problems(GYM, "reasoning_gym", name, 0, 4), "the same on every node"
    for problem in problems:
        assert not held_out(problem_key(f"reasoning_gym/{name}", problem))
        assert problem.solutions.keys() == problem.prompts.keys()
        for rendering, solution in problem.solutions.items():
            assert GYM.score(name, problem, rendering, solution) == 1.0


class Exemplary:
    """A scorer whose examples say what they were asked for."""

    async def examples(self, environment, parameters, count, rendering):
        return [(f"{environment} {dict(parameters)['level']} {rendering} {number}", "so") for number in range(count)]


def manifest() -> Manifest:
    rule = EnvironmentRule("toy/add", "1", {"level": Range(0, 1)})
    return dataclasses.replace(built_in()["embedded"], environments=(rule,))


def task(level: int) -> Task:
    return task_of(Recipe("toy/add", "1", (("level", level),), 1, Peer(1).key, 0))


async def test_a_task_is_shown_behind_the_examples_of_its_level():
    examples = await gather_examples(Exemplary(), manifest(), "compact", 2)
    for level in (0, 1):
        *before, prompt = examples.shown(task(level), "compact")
        assert [turn.role for turn in before] == ["user", "assistant"] * 2
        assert [turn.content for turn in before] == [f"toy/add {level} compact 0", "so", f"toy/add {level} compact 1", "so"]
        assert prompt == Turn("user", task(level).prompts["compact"])
    alone = (Turn("user", task(2).prompts["compact"]),)
    assert examples.shown(task(2), "compact") == alone, "a level that the swarm has no examples of"


async def test_without_examples_a_task_is_its_prompt():
    assert await gather_examples(Exemplary(), manifest(), "compact", 0) is NO_EXAMPLES
    assert Examples().shown(task(0), "prose") == (Turn("user", task(0).prompts["prose"]),)
