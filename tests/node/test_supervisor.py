"""The supervisor restarts failed parts with growing pauses, and hands up errors for the owner."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from swarm.errors import ChildDied, ConfigError, HomeError, NetworkError, PolicyError
from swarm.supervisor import FIRST_PAUSE_S, HEALTHY_S, LONGEST_PAUSE_S, find, supervise


async def test_a_part_that_returns_is_done(autojump_clock: MockClock) -> None:
    failures: list[tuple[str, str]] = []

    async def run() -> None:
        await trio.sleep(5)

    await supervise("part", run, lambda *failure: failures.append(failure))
    assert failures == []
    assert trio.current_time() == 5


async def test_pauses_double_up_to_a_limit_and_begin_short_after_a_healthy_time(autojump_clock: MockClock) -> None:
    begun: list[float] = []
    failures: list[tuple[str, str]] = []

    async def run() -> None:
        begun.append(trio.current_time())
        if len(begun) == 11:
            await trio.sleep(HEALTHY_S + 1)
        if len(begun) == 13:
            return
        raise ChildDied("gone")

    await supervise("part", run, lambda *failure: failures.append(failure))
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    growing = [min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S) for number in range(10)]
    assert pauses == pytest.approx([*growing, HEALTHY_S + 1 + FIRST_PAUSE_S, 2 * FIRST_PAUSE_S])
    assert failures == [("part", "ChildDied: gone")] * 12


@pytest.mark.parametrize("error", [HomeError("full"), ConfigError("wrong"), PolicyError("no model")])
@pytest.mark.parametrize("nested", [False, True])
async def test_what_only_the_owner_can_mend_goes_up(error: Exception, nested: bool) -> None:
    async def run() -> None:
        raise ExceptionGroup("nursery", [ValueError("x"), ExceptionGroup("inner", [error])]) if nested else error

    with pytest.raises(type(error)) as raised:
        await supervise("part", run, lambda *failure: None)
    assert raised.value is error


async def test_a_part_that_cannot_begin_at_all_goes_up() -> None:
    begun = False
    tries = 0

    async def run() -> None:
        nonlocal begun, tries
        tries += 1
        if tries == 2:
            begun = True
        raise NetworkError("port in use")

    with pytest.raises(NetworkError):
        await supervise("network", run, lambda *failure: None, begun_once=lambda: begun)
    assert tries == 1


async def test_once_begun_it_is_begun_again(autojump_clock: MockClock) -> None:
    tries = 0

    async def run() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise NetworkError("cable pulled")

    await supervise("network", run, lambda *failure: None, begun_once=lambda: True)
    assert tries == 3


async def test_cancelling_is_no_failure(autojump_clock: MockClock) -> None:
    failures: list[tuple[str, str]] = []
    with trio.move_on_after(3):
        await supervise("part", trio.sleep_forever, lambda *failure: failures.append(failure))
    assert failures == []


async def test_a_single_error_in_nested_groups_is_named_itself(autojump_clock: MockClock) -> None:
    summaries: list[str] = []

    async def run() -> None:
        if not summaries:
            raise ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("what it was")])])

    await supervise("part", run, lambda part, error: summaries.append(error))
    assert summaries == ["ValueError: what it was"]


def test_find() -> None:
    inner = HomeError("full")
    assert find(BaseExceptionGroup("a", [KeyboardInterrupt(), ExceptionGroup("b", [inner])]), (HomeError,)) is inner
    assert find(ValueError("x"), (HomeError,)) is None
