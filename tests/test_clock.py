"""Virtual time stands still during real work, charges its stated cost, and ignores the machine's
speed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
from trio.testing import MockClock

from swarm.clock import VirtualClock, WallClock

START_MS = 1_700_000_000_000


def run_virtually(main: Callable[[VirtualClock], Awaitable[None]]) -> None:
    mock = MockClock()
    trio.run(main, VirtualClock(mock, START_MS), clock=mock)


async def really(seconds: float) -> None:
    await trio.to_thread.run_sync(time.sleep, seconds)


async def test_the_wall_clock_is_the_systems() -> None:
    before = time.time() * 1000
    async with WallClock().work(3600):
        now = WallClock().now_ms()
    assert before - 1 <= now <= time.time() * 1000 + 1
    assert time.time() * 1000 - before < 60_000, "a cost is only modelled on a virtual clock"


def test_virtual_time_jumps_to_what_is_waited_for() -> None:
    async def main(clock: VirtualClock) -> None:
        assert clock.now_ms() == START_MS
        begun = time.monotonic()
        await trio.sleep(86_400.5)
        assert clock.now_ms() == START_MS + 86_400_500
        assert time.monotonic() - begun < 10

    run_virtually(main)


def test_time_stands_still_during_work_and_then_its_cost_is_charged() -> None:
    seen: list[tuple[str, float]] = []

    async def main(clock: VirtualClock) -> None:
        async def sleeper() -> None:
            await trio.sleep(1.0)
            seen.append(("slept", trio.current_time()))

        async def worker() -> None:
            async with clock.work(2.5):
                await really(0.1)
                seen.append(("worked", trio.current_time()))
            seen.append(("charged", trio.current_time()))

        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
            nursery.start_soon(worker)
        assert [(what, at - begun) for what, at in seen] == [("worked", 0.0), ("slept", 1.0), ("charged", 2.5)]

    run_virtually(main)


def test_time_stands_still_until_the_last_of_several_works_is_done() -> None:
    async def main(clock: VirtualClock) -> None:
        begun = trio.current_time()
        ended: dict[str, float] = {}

        async def worker(name: str, real: float, cost: float) -> None:
            async with clock.work(cost):
                await really(real)
                assert trio.current_time() == begun
            ended[name] = trio.current_time() - begun

        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker, "quick but dear", 0.01, 5.0)
            nursery.start_soon(worker, "slow but cheap", 0.2, 1.0)
        assert ended == {"quick but dear": 5.0, "slow but cheap": 1.0}

    run_virtually(main)


def test_work_that_fails_or_is_cancelled_lets_time_go_on() -> None:
    async def main(clock: VirtualClock) -> None:
        with pytest.raises(ValueError, match="no"):
            async with clock.work(5):
                raise ValueError("no")
        with trio.move_on_after(3):
            async with clock.work(100):
                await really(0.01)
        assert trio.current_time() == 3.0, "the failed work cost nothing, the cancelled one what had passed"
        await trio.sleep(1)
        assert clock.now_ms() == START_MS + 4000

    run_virtually(main)


@pytest.mark.parametrize("machine", [1, 2, 3])
def test_the_order_of_events_does_not_depend_on_the_machine(machine: int) -> None:
    """Real durations are drawn anew; costs and what follows from them are the same."""
    speed = Random(machine)
    events: list[tuple[float, int]] = []

    async def main(clock: VirtualClock) -> None:
        async def worker(number: int) -> None:
            for step in range(3):
                async with clock.work(1 + Random(f"{number}/{step}").random()):
                    await really(speed.random() * 0.02)
                events.append((round(trio.current_time(), 6), number))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(worker, number)

    run_virtually(main)
    expected = []
    for number in range(5):
        at = 0.0
        for step in range(3):
            at += 1 + Random(f"{number}/{step}").random()
            expected.append((round(at, 6), number))
    assert events == sorted(expected)
