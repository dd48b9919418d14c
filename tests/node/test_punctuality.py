"""Whether a loop that is held up says so."""

from __future__ import annotations

import time

import trio
import trio.testing

from swarm.node.punctuality import EVERY_S, WINDOW_S, Punctuality


async def test_a_loop_that_was_held_says_for_how_long() -> None:
    punctuality = Punctuality()
    assert punctuality.statistics().ticks == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(punctuality.watch)
        await trio.sleep(2 * EVERY_S)
        time.sleep(0.4)  # what must never be done in a loop
        await trio.sleep(2 * EVERY_S)
        nursery.cancel_scope.cancel()
    held = punctuality.statistics()
    assert held.ticks >= 8, "heartbeats that could not be sent in time count, all of them"
    assert held.most_ms > 300
    assert held.p50_ms > 50


async def test_only_the_last_minute_counts(autojump_clock: trio.testing.MockClock) -> None:
    punctuality = Punctuality()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(punctuality.watch)
        await trio.sleep(1)
        autojump_clock.jump(5.0)
        await trio.sleep(1)
        assert punctuality.statistics().most_ms > 4000
        await trio.sleep(WINDOW_S + 1)
        assert punctuality.statistics().most_ms < 1
        autojump_clock.jump(8 * 3600)  # the machine slept
        await trio.sleep(WINDOW_S + 1)
        assert punctuality.statistics().most_ms < 1
        nursery.cancel_scope.cancel()
