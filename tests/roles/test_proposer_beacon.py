"""A proposer whose epochs' values come late: it stays in the epoch before, and never waits or
guesses."""

from __future__ import annotations

from random import Random

from swarm_shapes import EPOCH, HOUR_MS, RULES, CountedProposer, Peer, StillClock, context_of, task_of, tasks_of

from protocols.recipe import seed
from swarm.beacon.beacon import LocalBeacon
from swarm.pool.admission.epochs import proposable
from swarm.pool.indices import IndexRange, Reached
from swarm.roles.proposer import Proposer

KEY = Peer(1).key


class Builder:
    async def build(self, recipes):
        return [task_of(recipe, seed) for recipe, seed in recipes]


class Known(LocalBeacon):
    """A beacon that knows the values that a test has put into it."""

    def __init__(self, values: dict[int, bytes]) -> None:
        self._values = values

    def value(self, epoch: int) -> bytes | None:
        return self._values.get(epoch)


def proposer(clock: StillClock, known: dict[int, bytes], *, epoch: int = 0, next_index: int = 0) -> CountedProposer:
    context = context_of(Peer(1).private_key, clock)
    return CountedProposer(context, Builder(), Known(known), Reached(epoch, next_index))


async def proposed(one: Proposer, count: int) -> list[tuple[int, int]]:
    return [(task.recipe.epoch, task.recipe.index) for task in await tasks_of(one, count, Random(1))]


async def test_without_a_value_nothing_is_proposed_and_no_index_used() -> None:
    known: dict[int, bytes] = {}
    one = proposer(StillClock(), known)
    assert await proposed(one, 2) == []
    known[EPOCH] = bytes(32)
    assert await proposed(one, 2) == [(EPOCH, 0), (EPOCH, 1)]
    assert one.take_proposed(one.reached) == IndexRange(EPOCH, 0, 2)


async def test_a_late_value_leaves_the_epoch_before_for_half_an_epoch() -> None:
    clock = StillClock(EPOCH * HOUR_MS)
    known = {EPOCH - 1: b"a" * 32}
    one = proposer(clock, known, epoch=EPOCH - 1, next_index=7)
    assert await proposed(one, 1) == [(EPOCH - 1, 7)]
    clock.ms += HOUR_MS // 2 - 1
    (task,) = await tasks_of(one, 1, Random(1))
    assert task.recipe.index == 8
    assert task.seed == seed(task.recipe, b"a" * 32)
    clock.ms += 1
    assert await proposed(one, 1) == [], "it might be stale before it is shared"
    known[EPOCH] = b"b" * 32
    (task,) = await tasks_of(one, 1, Random(1))
    assert (task.recipe.epoch, task.recipe.index) == (EPOCH, 0)
    assert task.seed == seed(task.recipe, b"b" * 32)


async def test_a_new_node_begins_in_the_epoch_before_if_that_is_all_it_knows() -> None:
    one = proposer(StillClock(EPOCH * HOUR_MS + 5), {EPOCH - 1: bytes(32)})
    assert await proposed(one, 1) == [(EPOCH - 1, 0)]


async def test_an_epoch_once_begun_is_not_left_for_an_older_one() -> None:
    clock = StillClock(EPOCH * HOUR_MS + 5)
    known = {EPOCH - 1: bytes(32), EPOCH: bytes(32)}
    one = proposer(clock, known)
    assert await proposed(one, 1) == [(EPOCH, 0)]
    del known[EPOCH]
    assert await proposed(one, 1) == []


async def test_an_epoch_that_the_own_log_has_and_the_beacon_has_not() -> None:
    known: dict[int, bytes] = {}
    one = proposer(StillClock(), known, epoch=EPOCH, next_index=4)
    assert await proposed(one, 1) == []
    known[EPOCH] = bytes(32)
    assert await proposed(one, 1) == [(EPOCH, 4)]


def test_which_epochs_can_be_proposed_in() -> None:
    assert list(proposable(RULES, EPOCH * HOUR_MS)) == [EPOCH, EPOCH - 1]
    assert list(proposable(RULES, EPOCH * HOUR_MS + HOUR_MS // 2 - 1)) == [EPOCH, EPOCH - 1]
    assert list(proposable(RULES, EPOCH * HOUR_MS + HOUR_MS // 2)) == [EPOCH]
    assert list(proposable(RULES, EPOCH * HOUR_MS + HOUR_MS - 1)) == [EPOCH]
    assert list(proposable(RULES, 0)) == [0]
