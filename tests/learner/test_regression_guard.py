"""A policy led astray is noticed before it is saved, and the node goes back to the checkpoint
before."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_shapes import Medium, finished, on_virtual_time

from swarm.events import Checkpointed, Event, RolledBack
from swarm.learner import regression_guard
from swarm.learner.regression_guard import PATIENCE, RegressionGuard
from swarm.policy import checkpoint
from swarm.roles.view import View


class Answers:
    """A policy by what it solves; `canary.solved` asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.right: list[bool] = []

        async def blocks(*_):
            return ["a block"]

        async def solved(policy, *_):
            return {"environment": list(self.right)}

        monkeypatch.setattr(regression_guard, "held_out_set", blocks)
        monkeypatch.setattr(regression_guard, "solved", solved)

    async def look(self, watcher: RegressionGuard, right: int, of: int = 50):
        self.right = [True] * right + [False] * (of - right)
        return await watcher.look(self, View("compact", 18))


@pytest.fixture
def answers(monkeypatch):
    return Answers(monkeypatch)


@pytest.fixture
def watcher():
    class Rules:
        environments = ("one",)

    return RegressionGuard(None, Rules(), 50, 1)


async def test_a_clear_loss_is_harm_and_a_small_one_is_chance(answers, watcher):
    assert not (await answers.look(watcher, 30)).harmed
    assert not (await answers.look(watcher, 24)).harmed  # six lost, none won: 6 < 3 * sqrt(6)
    reading = await answers.look(watcher, 15)
    assert reading.harmed
    assert (reading.best, reading.accuracy) == (0.6, 0.3)


async def test_slow_harm_adds_up_since_the_best_reading_counts(answers, watcher):
    for right in (40, 37, 34, 31):
        assert not (await answers.look(watcher, right)).harmed
    assert (await answers.look(watcher, 28)).harmed


async def test_who_was_trained_on_is_credited_with_the_change(answers, watcher):
    await answers.look(watcher, 20)
    watcher.trained({"": 2, "friend": 4, "other": 2})
    reading = await answers.look(watcher, 30)
    assert reading.credit == {"friend": pytest.approx(0.1), "other": pytest.approx(0.05)}
    watcher.trained({"": 1, "friend": 1})
    assert (await answers.look(watcher, 29)).credit == {"friend": pytest.approx(-0.01)}
    assert (await answers.look(watcher, 30)).credit == {}, "nothing was trained meanwhile"


async def test_groups_of_which_nothing_was_learned_are_credited_with_nothing(answers, watcher):
    await answers.look(watcher, 20)
    watcher.trained({"": 0.0, "strange": 0.0})
    assert (await answers.look(watcher, 30)).credit == {}


async def test_going_back_has_an_end(answers, watcher):
    await answers.look(watcher, 45)
    for times in range(1, PATIENCE + 1):
        assert (await answers.look(watcher, 5)).harmed
        assert watcher.bad_in_a_row == times
    assert not (await answers.look(watcher, 5)).harmed
    assert watcher.bad_in_a_row == 0
    assert not (await answers.look(watcher, 4)).harmed, "the newest reading is the one to compare with"


async def test_its_state_is_that_of_the_policy_it_was_saved_with(answers, watcher):
    await answers.look(watcher, 40)
    saved = watcher.state()
    await answers.look(watcher, 45)
    watcher.restore(saved)
    assert (await answers.look(watcher, 41)).best == 0.8
    watcher.restore({})
    assert (await answers.look(watcher, 3)).best == pytest.approx(0.06), "without a reading before, this one is the first"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_harm_has_a_direction_and_needs_more_than_a_tenth(readings):
    best, now = zip(*readings, strict=True)
    assert not regression_guard._harmed(best, best)
    assert not (regression_guard._harmed(best, now) and regression_guard._harmed(now, best))
    if regression_guard._harmed(best, now):
        assert sum(best) - sum(now) > len(now) / 10
    assert not regression_guard._harmed(best, now[:-1]), "a reading of other tasks says nothing"


def test_chance_alone_is_hardly_ever_taken_for_harm():
    random = Random(1)
    alarms = 0
    for _ in range(4000):
        best, now = ([random.random() < 0.5 for _ in range(54)] for _ in range(2))
        alarms += regression_guard._harmed(best, now)
    assert alarms <= 12  # three deviations, one-sided: 0.13 %, about five


def test_a_node_whose_policy_was_spoiled_goes_back_to_its_checkpoint(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        settings = {"node_rounds": 4, "checkpoint_every_rounds": 2, "training_learning_rate": 1e-5}
        async with medium.node(0, events, **settings) as node:
            answer = node.learner.policy.answer

            async def spoiled(prompts, **settings):
                led_astray = node.learner.round == 4 and not any(isinstance(event, RolledBack) for event in events)
                return ["?"] * len(prompts) if led_astray else await answer(prompts, **settings)

            node.learner.policy.answer = spoiled
            await node.learn()
            assert checkpoint.node_state(checkpoint.newest(node.context.home.checkpoints))["round"] == 4

    on_virtual_time(tmp_path, main)
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert (back.round, back.to_round, back.accuracy) == (4, 2, 0.0)
    assert back.best > 0.15
    assert [event.round for event in finished(events)] == [0, 1, 2, 3, 2, 3]


def test_checkpoints_wait_for_their_minutes_but_for_the_first_and_the_last(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        settings = {"node_rounds": 9, "node_min_round_s": 60, "checkpoint_every_rounds": 2, "checkpoint_every_minutes": 3.5}
        async with medium.node(0, events, **settings, defences_canary_tasks=0) as node:
            await node.learn()

    on_virtual_time(tmp_path, main)
    # Due after every second round, and four minutes after the one before; the node saves as it ends.
    assert [event.round for event in events if isinstance(event, Checkpointed)] == [2, 6, 9]
