"""Token buckets, the bounded shelf and two queues in turns: nobody gets more than its part, and all
is counted."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from swarm.fair import Bucket, Buckets, Places, Shelf, Turns
from swarm.newest import Newest


class Seconds:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


# Buckets


async def test_a_bucket_lets_its_rate_through_and_tells_who_never_lets_up(autojump_clock: MockClock) -> None:
    bucket = Bucket(10.0, 20.0)
    began, spent = trio.current_time(), 0
    while trio.current_time() - began < 10:
        await trio.sleep(bucket.take())
        spent += 1
    assert spent == pytest.approx(20 + 10 * 10, abs=2)
    assert bucket.excess_s() == pytest.approx(10, abs=0.5)
    await trio.sleep(1)
    bucket.take()
    assert bucket.excess_s() == 0


async def test_a_bucket_that_does_not_afford_is_not_overdrawn(autojump_clock: MockClock) -> None:
    bucket = Bucket(1.0, 5.0)
    assert not bucket.affords(6)
    assert [bucket.affords(2) for _ in range(3)] == [True, True, False]


BURST_S = 60.0


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1000)), max_size=30), st.floats(0.01, 100))
def test_a_bucket_never_gives_more_than_its_rate(spends: list[tuple[int, float]], rate: float) -> None:
    clock, taken = Seconds(), 0.0
    buckets: Buckets[bytes] = Buckets(rate, rate * BURST_S, clock, 100)
    for wait_ms, amount in spends:
        clock.now_s += wait_ms / 1000
        if buckets.left(b"x") >= amount:
            buckets.spend(b"x", amount)
            taken += amount
    assert taken <= rate * (BURST_S + clock.now_s) * (1 + 1e-9)


def test_clock_that_does_not_move_gives_nothing_back() -> None:
    clock = Seconds()
    buckets: Buckets[bytes] = Buckets(1.0, BURST_S, clock, 100)
    buckets.spend(b"x", buckets.burst + 5)
    assert buckets.left(b"x") == -5
    clock.now_s -= 10
    assert buckets.left(b"x") == -5


def test_debt_is_bounded_and_only_the_emptiest_are_remembered() -> None:
    buckets: Buckets[int] = Buckets(1.0, 10.0, Seconds(), 100)
    assert buckets.spend(0, 1e9) == -20
    for key in range(1, 1000):
        buckets.spend(key, 1 + key % 5)
    assert len(buckets._buckets) <= 100
    assert buckets.left(0) == -20, "a full one is forgotten first"


# The shelf

items = st.tuples(st.integers(0, 4), st.integers(0, 60))


@given(st.lists(items, max_size=120), st.integers(1, 12), st.integers(1, 200))
def test_a_shelf_is_bounded_in_order_and_a_flood_displaces_itself(puts: list[tuple[int, int]], most: int, max_bytes: int) -> None:
    spared = bytes([0])
    shelf: Shelf[int] = Shelf(most, max_bytes, lambda owner: owner == spared)
    held: list[tuple[bytes, int, int]] = []
    for number, (owner, size) in enumerate(puts):
        dropped = shelf.put(bytes([owner]), number, size)
        held.append((bytes([owner]), number, size))
        for _ in range(dropped):
            weights = Counter({each: 0 for each, *_ in held})
            for each, _, bytes_ in held:
                weights[each] += bytes_
            heaviest = max(weights, key=lambda each: (each != spared, weights[each], each))
            held.remove(next(item for item in held if item[0] == heaviest))
        assert len(held) == len(shelf) <= most
        assert sum(size for *_, size in held) <= max_bytes
    for owner in range(5):
        mine = [number for each, number, _ in held if each == bytes([owner])]
        assert [shelf.take_oldest(bytes([owner])) for _ in mine] == mine, "oldest first"
        assert shelf.take_oldest(bytes([owner])) is None
    assert len(shelf) == 0
    assert not shelf._bytes


@given(st.lists(items, max_size=60), st.integers(1, 12))
def test_who_is_spared_loses_nothing_while_others_have_anything(puts: list[tuple[int, int]], most: int) -> None:
    spared, put = bytes([0]), Counter[int]()
    shelf: Shelf[int] = Shelf(most, 10**6, lambda owner: owner == spared)
    for number, (owner, size) in enumerate(puts):
        shelf.put(bytes([owner]), number, size)
        put[owner] += 1
    kept = sum(shelf.take_oldest(spared) is not None for _ in range(put[0]))
    assert kept == min(put[0], most)


@given(st.integers(1, 300))
def test_a_flood_displaces_itself_first(flood: int) -> None:
    shelf: Shelf[int] = Shelf(50, 10_000, lambda owner: False)
    for number in range(20):
        shelf.put(b"honest", number, 100)
    for number in range(flood):
        shelf.put(b"flooder", number, 110)
    assert [shelf.take_oldest(b"honest") for _ in range(20)] == list(range(20))


# Places


def test_places_are_bounded_in_all_and_for_each() -> None:
    places = Places(3, 2)
    with places.taken(b"a"), places.taken(b"a"):
        assert places.full_for(b"a")
        assert not places.full_for(b"b")
        assert not places.full()
        with places.taken(b"b"):
            assert places.full()
    assert not places.full_for(b"a")
    assert not places.full()


# Turns


@given(st.lists(st.booleans() | st.none(), max_size=60))
def test_turns_alternate_and_lose_nothing(steps: list[bool | None]) -> None:
    """A step puts an item into one of the queues, or None takes the next."""
    turns: Turns[int] = Turns()
    waiting: dict[bool, list[int]] = {True: [], False: []}
    last = False
    for number, step in enumerate(steps):
        if step is not None:
            turns.put(number, established=step)
            waiting[step].append(number)
        elif (taken := turns.next()) is None:
            assert waiting == {True: [], False: []}
        else:
            queue = (not last) if waiting[not last] else last
            assert taken == waiting[queue].pop(0)
            last = queue
    for queue, others in waiting.items():
        for number in others[1:]:
            turns.remove(number, established=queue)
    left = [others[0] for others in waiting.values() if others]
    assert {turns.next() for _ in left} == set(left)
    assert turns.next() is None


def test_the_cheapest_comes_first_and_the_priceless_never() -> None:
    turns: Turns[int] = Turns()
    for item in (5, 3, 4, 3, 8):
        turns.put(item, established=item == 8)
    costs = {5: 2.0, 3: 1.0, 4: 1.0, 8: math.inf}
    assert [turns.cheapest(costs.__getitem__) for _ in range(4)] == [3, 4, 5, None]
    assert turns.cheapest(float) == 8


# Newest


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(1, 5))
def test_the_newest_are_remembered_and_no_more(steps: list[tuple[int, bool]], most: int) -> None:
    """A step sets a key, or obtains it where it is there."""
    newest: Newest[int, int] = Newest(most)
    order: list[int] = []
    for number, (key, sets) in enumerate(steps):
        if sets:
            newest[key] = number
        elif key in newest:
            newest.obtain(key, int)
        else:
            continue
        order = [*(each for each in order if each != key), key][-most:]
        assert list(newest) == order
