"""A policy led astray is noticed before it is saved, and the node goes back to the checkpoint
before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_shapes import Medium, finished, on_virtual_time
from swarm_shapes import scored

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


async def test_who_was_trained_on_is_told_of_the_change(answers, watcher):
    await answers.look(watcher, 20)
    watcher.trained({"": 2, "friend": 4, "other": 2})
    reading = await answers.look(watcher, 30)
    assert (reading.change, reading.taught) == (pytest.approx(0.2), ["friend", "other"])
    watcher.trained({"": 1, "friend": 1})
    reading = await answers.look(watcher, 29)
    assert (reading.change, reading.taught) == (pytest.approx(-0.02), ["friend"])
    assert (await answers.look(watcher, 30)).taught == [], "nothing was trained meanwhile"


async def test_groups_of_which_nothing_was_learned_say_nothing_of_their_signer(answers, watcher):
    await answers.look(watcher, 20)
    watcher.trained({"": 0.0, "strange": 0.0})
    assert (await answers.look(watcher, 30)).taught == []


async def test_who_is_there_whenever_the_policy_loses_is_blamed_and_nobody_else(answers, watcher):
    """Honest peers with large and small parts; one with a twentieth of every other window, in which
    a fifth is lost that is won back in the next."""
    await answers.look(watcher, 30)
    blamed = []
    for look in range(12):
        bad = look % 2
        watcher.trained({"": 1, "large": 34, "small": 10 + look % 3, "bad": 5 * bad + 0.001})
        blamed.append(list((await answers.look(watcher, 20 if bad else 30)).blamed))
    assert blamed[0] == blamed[1] == blamed[2] == [], "one loss says nothing"
    assert blamed[-1] == ["bad"]
    assert all(each in ([], ["bad"]) for each in blamed)


async def test_one_great_loss_is_nobodys(answers, watcher):
    await answers.look(watcher, 45)
    for right, parts in ((45, 1), (44, 1), (45, 1), (15, 5), (45, 1), (44, 1)):
        watcher.trained({"": 1, "honest": parts, "other": 3})
        assert (await answers.look(watcher, right)).blamed == []


@given(st.lists(st.tuples(st.integers(-20, 20), st.floats(0.01, 1)), max_size=16), st.floats(0.01, 1))
def test_nobody_is_blamed_for_what_does_not_change_with_its_part(changes, part):
    looks = [regression_guard.Look(change / 50, 0.05, {"steady": part, "good": more}) for change, more in changes]
    assert not regression_guard._goes_with_losses("steady", looks)
    rising = [look._replace(change=look.parts["good"]) for look in looks]
    assert not regression_guard._goes_with_losses("good", rising)


def test_honest_peers_are_hardly_ever_blamed():
    random, blamed = Random(1), 0
    for _ in range(1500):
        looks = [regression_guard.Look(random.gauss(0, 0.05), 0.05, {"honest": random.uniform(0.05, 0.3)}) for _ in range(16)]
        blamed += regression_guard._goes_with_losses("honest", looks)
    assert blamed <= 2, "less than three deviations would, since the loudest look is left out"


async def test_going_back_to_a_checkpoint_makes_no_peer_look_better(answers, watcher):
    await answers.look(watcher, 30)
    saved = watcher.state()
    for look in range(8):
        watcher.trained({"": 1, "bad": 5 * (look % 2) + 0.001})
        reading = await answers.look(watcher, 20 if look % 2 else 30)
    assert reading.blamed == ["bad"]
    later = watcher.state()
    watcher.restore(saved)
    watcher.trained({"bad": 5})
    assert (await answers.look(watcher, 20)).blamed == ["bad"]
    again = RegressionGuard(None, type("Rules", (), {"environments": ("one",)}), 50, 1)
    again.restore(later)
    again.trained({"bad": 5})
    assert (await answers.look(again, 20)).blamed == ["bad"], "a restart forgets nothing"


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


def test_what_was_in_the_pool_is_suspected_before_the_checkpoint(tmp_path: Path) -> None:
    """Harmed three times in a row: without the pool's groups, with own groups alone, and only then
    from an earlier checkpoint."""
    events: list[Event] = []
    drawn: list[tuple[int, bool]] = []

    async def main(medium: Medium) -> None:
        settings = {"node_rounds": 6, "checkpoint_every_rounds": 2, "training_learning_rate": 1e-5}
        async with medium.node(0, events, **settings) as node:
            learner = node.learner
            answer, draw = learner.policy.answer, learner.sampling.draw

            async def spoiled(prompts, **settings):
                led_astray = learner.round == 6 and sum(isinstance(event, RolledBack) for event in events) < 3
                return ["?"] * len(prompts) if led_astray else await answer(prompts, **settings)

            async def watched(own, round, random):
                batch = await draw(own, round, random)
                drawn.append((len(batch.groups) - batch.own, learner.sampling.external == 0))
                return batch

            learner.policy.answer, learner.sampling.draw = spoiled, watched
            old = scored(b"o" * 32, 0, environment="reasoning_gym/ab", received_ms=node.context.now_ms())
            await node.pool.run(lambda store: store.add_groups([replace(old, policy=learner.policy.tag)], own=False))
            await node.learn()
            later = scored(b"n" * 32, 0, environment="reasoning_gym/ab", received_ms=node.context.now_ms() + 1)
            await node.pool.run(lambda store: store.add_groups([later], own=False))
            assert [each.signer for each in await learner.sampling.candidates()] == [b"n" * 32]

    on_virtual_time(tmp_path, main)
    assert [event.to_round for event in events if isinstance(event, RolledBack)] == [4, 4, 2]
    assert drawn[0] == (1, False)
    assert drawn[6:8] == [(0, False)] * 2, "what was received before the harm is set aside"
    assert drawn[8:10] == [(0, True)] * 2, "then it learns alone"
    assert drawn[12:] == [(0, False)] * len(drawn[12:])
