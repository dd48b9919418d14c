"""Waiting for fresh groups: until they come, within bounds, and not where no peer is connected."""

from __future__ import annotations

from pathlib import Path

import trio
from node_shapes import Medium, finished, on_virtual_time

from swarm.events import Event
from swarm.node.status import status

FRESH = {"sampling_wait_s": 40, "sampling_max_policy_age": 8}
WAITING = "waiting: for 4 groups of at most 8 updates ago (sampling.wait_s)"


def test_a_fresh_node_trains_when_the_groups_have_come_and_not_before(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        async with (
            medium.node(0, events, node_rounds=1, **FRESH) as node,
            medium.node(1, node_min_round_s=1) as other,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(node.learn)
            await trio.sleep(10)
            assert node.learner.activity.state == WAITING
            assert not finished(events)
            nursery.start_soon(other.learn)
            while not finished(events):
                await trio.sleep(0.1)
            shown = (await status(node))["freshness"]
            assert (shown["waits"], shown["too_few"]) == (1, 0)
            assert 10 <= shown["waited_s"] < 40
            nursery.cancel_scope.cancel()

    on_virtual_time(tmp_path, main)
    (round,) = finished(events)
    assert round.trained_foreign >= 4
    assert 10 <= round.seconds["waiting"] < 40
    assert 0 <= round.policy_age <= 8


def test_it_trains_on_what_is_there_when_its_time_is_up(tmp_path: Path) -> None:
    events: list[Event] = []

    async def main(medium: Medium) -> None:
        async with medium.node(1), medium.node(0, events, node_rounds=2, **FRESH) as node:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(node.learn)
                await trio.sleep(60)
                assert node.learner.activity.state == WAITING.replace("4", "1"), "it asks for less where nothing came"
            statistics = node.learner.freshness.statistics()
            assert (statistics.waits, statistics.too_few) == (2, 2)
            assert abs(statistics.waited_s - 80) < 1

    on_virtual_time(tmp_path, main)
    assert [round.trained_foreign for round in finished(events)] == [0, 0]


def test_it_waits_for_nobody(tmp_path: Path) -> None:
    alone: list[Event] = []
    left: list[Event] = []
    stopped: list[Event] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, alone, node_rounds=3, **FRESH) as node:
            await node.learn()
            assert node.learner.freshness.statistics().waits == 0
        begun = trio.current_time()
        async with trio.open_nursery() as nursery, medium.node(0, left, node_rounds=4, **FRESH) as node:
            async with medium.node(1):
                nursery.start_soon(node.learn)
                await trio.sleep(10)
                assert node.learner.activity.state == WAITING
            while not finished(left):
                await trio.sleep(0.1)
            assert trio.current_time() - begun < 15, "its only peer has left"
        async with medium.node(1), medium.node(0, stopped, **FRESH) as node, trio.open_nursery() as nursery:
            nursery.start_soon(node.learn)
            await trio.sleep(10)
            assert node.learner.activity.state == WAITING
            told = trio.current_time()
            node.learner.stop()
            while not finished(stopped):
                await trio.sleep(0.05)
            assert trio.current_time() - told < 0.5

    on_virtual_time(tmp_path, main)
    assert len(finished(alone)) == 3
