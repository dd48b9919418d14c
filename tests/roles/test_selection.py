"""Choosing a task that is neither solved nor hopeless, by the own policy's likelihoods alone."""

from __future__ import annotations

import dataclasses
import math

from swarm_shapes import Peer, task_of

from protocols.recipe import Recipe
from swarm.records import Conversation, Task, Turn
from swarm.roles.examples import Examples
from swarm.roles.selection import select
from swarm.roles.view import View


class Opinion:
    """A policy that gives texts these probabilities."""

    def __init__(self, **likelihoods: float) -> None:
        self.likelihoods = likelihoods
        self.asked: list[Conversation] = []
        self.too_long: set[str | None] = set()

    async def fits(self, prompts: list[Conversation], solutions: list[str | None], max_tokens: int) -> list[bool]:
        return [solution not in self.too_long for solution in solutions]

    async def log_likelihoods(self, prompts: list[Conversation], texts: list[str]) -> list[float]:
        self.asked += prompts
        return [math.log(self.likelihoods[text]) if self.likelihoods[text] else -math.inf for text in texts]


def task(index: int, solution: str = "") -> Task:
    plain = task_of(Recipe("toy/add", "1", (("level", 0),), 1, Peer(1).key, index), seed=index)
    return dataclasses.replace(plain, solutions={"compact": solution} if solution else {})


def places(*rows: str) -> list[list[Task]]:
    """One place per row of solutions; "-" is a task without one."""
    numbers = iter(range(99))
    return [[task(next(numbers), "" if word == "-" else word) for word in row.split()] for row in rows]


async def chosen(policy: Opinion, rows: list[list[Task]]) -> list[int]:
    return [task.recipe.index for task in (await select(policy, rows, View("compact", 9))).tasks]  # type: ignore[arg-type]


async def test_the_nearest_to_a_half_is_chosen_of_every_place():
    policy = Opinion(solved=0.97, likely=0.7, even=0.45, hopeless=0.0)
    assert await chosen(policy, places("solved even hopeless", "hopeless likely", "solved likely even")) == [1, 4, 7]


async def test_of_hopeless_ones_the_least_hopeless_is_chosen():
    assert await chosen(Opinion(never=0.0, hardly=1e-6), places("never hardly never")) == [1]


async def test_where_no_solution_is_known_the_first_is_taken():
    assert await chosen(Opinion(), places("- - -", "-")) == [0, 3]
    assert await chosen(Opinion(hopeless=0.0), places("- hopeless")) == [0]


async def test_a_single_task_is_not_asked_about():
    policy = Opinion(even=0.5)
    assert await chosen(policy, places("even", "even")) == [0, 1]
    assert policy.asked == []


async def test_the_policy_is_asked_about_what_it_will_be_shown():
    policy = Opinion(even=0.5, solved=1.0)
    (row,) = places("even solved")
    prompts = [each.prompts["compact"] for each in row]
    before = (Turn("user", "2="), Turn("assistant", "two"))
    view = View("compact", 9, Examples({("toy/add", (("level", 0),)): before}))
    await select(policy, [row], view)  # type: ignore[arg-type]
    assert policy.asked == [(*before, Turn("user", prompt)) for prompt in prompts]


async def test_tasks_that_do_not_fit_the_model_are_passed_over():
    policy = Opinion(even=0.5, likely=0.7, long=0.5)
    policy.too_long = {"long"}
    selection = await select(policy, places("long likely", "long", "long even likely"), View("compact", 9))  # type: ignore[arg-type]
    assert [task.recipe.index for task in selection.tasks] == [1, 4]
    assert [task.recipe.index for task in selection.passed_over] == [0, 2, 3]
