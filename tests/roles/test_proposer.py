"""The proposer's indices have no gaps and its tasks are what every node rebuilds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from swarm_shapes import (
    EPOCH,
    HOUR_MS,
    RULES,
    CountedProposer,
    Peer,
    StillClock,
    context_of,
    scored,
    task_of,
    tasks_of,
)

from protocols.manifest import EnvironmentRule, permits
from protocols.recipe import Recipe, local_beacon, seed
from swarm.beacon.beacon import LocalBeacon
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config, TasksSection
from swarm.errors import ChildDied, ChildFailed, ChildTimeout, ConfigError
from swarm.pool.indices import IndexRange, Reached
from swarm.records import Task
from swarm.roles.proposer import Proposer, chosen_rules, levels, parameters_at
from swarm.tasks.held_out import held_out
from swarm.tasks.scoring import Scorer

KEY = Peer(1).key


@dataclass
class Builder:
    """A scorer that builds, or fails for some indices."""

    failing: dict[int, Exception] = field(default_factory=dict)

    async def build(self, recipes: Sequence[tuple[Recipe, int]]) -> list[Task]:
        for recipe, _ in recipes:
            if recipe.index in self.failing:
                raise self.failing[recipe.index]
        return [task_of(recipe, seed) for recipe, seed in recipes]


def beacon(epoch: int) -> bytes:
    return local_beacon(RULES.id, epoch)


def proposer(
    clock: StillClock, *, epoch: int = EPOCH, next_index: int = 0, scorer: Builder | None = None, **tasks
) -> CountedProposer:
    context = context_of(Peer(1).private_key, clock, config=Config(tasks=TasksSection(**tasks)))
    return CountedProposer(context, scorer or Builder(), LocalBeacon(RULES), Reached(epoch, next_index))


async def indices(proposer: Proposer, count: int) -> list[int]:
    return [task.recipe.index for task in await tasks_of(proposer, count, Random(1))]


async def test_indices_have_no_gaps_and_shares_account_for_all_of_them() -> None:
    one = proposer(StillClock())
    assert await indices(one, 3) == [0, 1, 2]
    assert await indices(one, 2) == [3, 4]
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 0, 5)
    assert await indices(one, 2) == [5, 6]
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 5, 2)
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 7, 0)


async def test_rounds_that_wait_for_their_share_are_accounted_for_one_by_one() -> None:
    clock = StillClock()
    one = proposer(clock)
    waiting = []
    for later_ms in (0, 0, HOUR_MS):
        clock.ms += later_ms
        (task,) = await tasks_of(one, 1, Random(1))
        waiting.append((task.recipe, one.reached))
    ranges = []
    for recipe, reached in waiting:
        assert one.indices.carries(recipe, reached)
        ranges.append(one.take_proposed(reached))
        assert not one.indices.carries(recipe, reached)
    assert ranges == [IndexRange(EPOCH, 0, 1), IndexRange(EPOCH, 1, 1), IndexRange(EPOCH + 1, 0, 1)]
    recipe, reached = waiting[0]
    one.indices.resume(Reached(EPOCH + 1, 7))
    assert not one.indices.carries(recipe, reached), "an epoch that shares have left is over"


async def test_indices_are_capped() -> None:
    one = proposer(StillClock(), next_index=97)
    assert await indices(one, 2) == [97, 98]
    assert await indices(one, 5) == [99]
    assert await indices(one, 5) == []
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 97, 3)


async def test_alternatives_are_of_one_environment_and_account_for_their_indices() -> None:
    one = proposer(StillClock(), next_index=90)
    places = await one.propose(2, 4, Random(1))
    assert [[task.recipe.index for task in place] for place in places] == [[90, 91, 92, 93], [94, 95, 96, 97]]
    assert [len({task.recipe.environment for task in place}) for place in places] == [1, 1]
    assert [[task.recipe.index for task in place] for place in await one.propose(2, 4, Random(1))] == [[98, 99]]
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 90, 10)


async def test_what_cannot_be_built_leaves_its_place_to_the_alternatives() -> None:
    late = ChildTimeout("late")
    one = proposer(StillClock(), scorer=Builder({0: late, 2: late, 3: late}))
    assert [[task.recipe.index for task in place] for place in await one.propose(3, 2, Random(1))] == [[1], [4, 5]]


async def test_a_new_epoch_begins_at_zero() -> None:
    clock = StillClock()
    one = proposer(clock, next_index=42)
    assert await indices(one, 1) == [42]
    clock.ms += HOUR_MS
    tasks = await tasks_of(one, 2, Random(1))
    assert [(task.recipe.epoch, task.recipe.index) for task in tasks] == [(EPOCH + 1, 0), (EPOCH + 1, 1)]
    assert one.epoch == EPOCH + 1
    taken = one.take_proposed(one.reached)
    assert taken == IndexRange(EPOCH + 1, 0, 2), "what was not shared of the epoch before is nobody's business"


async def test_it_goes_on_where_the_log_ended() -> None:
    assert await indices(proposer(StillClock(), next_index=17), 2) == [17, 18]
    assert await indices(proposer(StillClock(), epoch=EPOCH - 1, next_index=17), 2) == [0, 1], "unless that epoch is over"
    back = proposer(StillClock(), epoch=EPOCH + 1, next_index=17)
    assert await indices(back, 1) == [17], "a clock that was set back does not use an index twice"
    assert back.epoch == EPOCH + 1


async def test_every_recipe_is_permitted_and_its_seed_follows_from_it() -> None:
    tasks = await tasks_of(proposer(StillClock()), 60, Random(3))
    for task in tasks:
        assert permits(RULES, task.recipe) is None
        assert task.recipe.proposer == KEY
        assert task.seed == seed(task.recipe, beacon(EPOCH))
    assert {(task.recipe.environment, dict(task.recipe.parameters)["level"]) for task in tasks} == {
        ("toy/add", 0), ("toy/add", 1), ("toy/add", 2), ("toy/sort", 0),
    }  # fmt: skip


@pytest.mark.parametrize("failure", [ChildTimeout("late"), ChildDied("gone")])
async def test_a_task_that_cannot_be_built_in_time_is_left_out_alone(failure: Exception) -> None:
    one = proposer(StillClock(), scorer=Builder({1: failure}))
    assert await indices(one, 4) == [0, 2, 3]
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 0, 4), "its index is used up"


async def test_an_environment_that_refuses_is_an_error_to_be_seen() -> None:
    with pytest.raises(ChildFailed):
        await tasks_of(proposer(StillClock(), scorer=Builder({1: ChildFailed("EnvironmentRefused", "no")})), 4, Random(1))


async def test_only_chosen_environments_are_proposed() -> None:
    one = proposer(StillClock(), environments=("toy/sort",))
    assert one.environments == ("toy/sort",)
    assert {task.recipe.environment for task in await tasks_of(one, 20, Random(1))} == {"toy/sort"}
    with pytest.raises(ConfigError, match=r"'toy/none'; it has toy/add, toy/sort"):
        chosen_rules(RULES, TasksSection(environments=("toy/none",)))


async def test_the_curriculum_decides_what_is_proposed() -> None:
    one = proposer(StillClock())
    for index in range(60):
        one.curriculum.observe([scored(KEY, index, environment="toy/sort", parameters=(("level", 0),), rewards=(1.0, 1.0))])
        one.curriculum.observe([scored(KEY, index, parameters=(("level", 0),), rewards=(0.0, 0.0))])
        one.curriculum.observe([scored(KEY, index, parameters=(("level", 2),), rewards=(0.0, 0.0))])
    arms = [dict(task.recipe.parameters)["level"] for task in await tasks_of(one, 100, Random(2))]
    assert arms.count(1) > 50


def test_levels_and_parameters_of_a_rule() -> None:
    rule = EnvironmentRule("toy/x", "1", {"level": RULES.environments[0].parameters["level"], "size": 5, "a": True})
    assert list(levels(rule)) == [0, 1, 2]
    assert parameters_at(rule, 2) == (("a", True), ("level", 2), ("size", 5))
    assert rule.allows(parameters_at(rule, 2))
    assert list(levels(EnvironmentRule("toy/x", "1", {"level": 4}))) == [4]


async def test_every_node_rebuilds_the_same_task_and_held_out_prompts_are_never_proposed() -> None:
    rules = built_in()["embedded"]
    clock = WallClock()
    async with Scorer(1, 20, clock) as mine, Scorer(1, 20, clock) as theirs:
        context = context_of(Peer(1).private_key, clock, rules)
        one = CountedProposer(context, mine, LocalBeacon(rules), Reached(0, 0))
        tasks = await tasks_of(one, 60, Random(4))
        again = await theirs.build([(task.recipe, seed(task.recipe, local_beacon(rules.id, one.epoch))) for task in tasks])
        assert again == tasks
        assert not any(held_out(f"{task.recipe.environment}\n{task.prompts['compact']}") for task in tasks)
        moved = replace(tasks[0].recipe, index=77)
        (other,) = await theirs.build([(moved, seed(moved, local_beacon(rules.id, one.epoch)))])
        assert other.seed != tasks[0].seed
