"""Verification is shared out: nobody's slow group holds up another signer, and nobody is judged for longer than its budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from gate_shapes import OWN
from hypothesis import given
from hypothesis import strategies as st
from swarm.pool.shelf import Shelf
from swarm_shapes import NOW_MS, RULES, Judge, Judged, Peer, StillClock, rewards_of, task_of
from trio.testing import MockClock

from protocols.reasons import Reason
from protocols.recipe import Recipe, local_beacon
from swarm.clock import VirtualClock
from swarm.config.schema import DefencesSection, PoolSection
from swarm.errors import ChildDied, ChildTimeout, NetworkError
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.budgets import BURST_S, FRESH_MS, Buckets, Budgets
from swarm.pool.admission.verification import Rescore, Turns
from swarm.pool.pool import Pool
from swarm.pool.standing.standing import LIMIT

SLOW_S = 5.0


class SlowJudge:
    """Answers with "slow" take 5 s and fail; all others a hundredth of a second. Notes who was judged when."""

    def __init__(self) -> None:
        self.judged: list[tuple[bytes, int]] = []

    async def __call__(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        if "slow" in texts:
            await trio.sleep(SLOW_S)
            raise ChildDied("used up its seconds")
        await trio.sleep(0.01)
        self.judged.append((recipe.proposer, recipe.index))
        return Judged(task_of(recipe, seed), tuple(rewards_of(texts)))


async def no_body(body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
    raise NetworkError("nobody has it")


class Open:
    """An admission on a virtual clock, whose judge the test chose."""

    def __init__(self, path: Path, mock: MockClock, rescore: Rescore, **settings: object) -> None:
        self.clock = VirtualClock(mock, NOW_MS)
        self.pool = Pool(path / "pool.sqlite", PoolSection(), self.clock)
        self.admission = Admission(
            RULES, OWN.key, self.pool, rescore, no_body, lambda epoch: local_beacon(RULES.id, epoch), self.clock, **settings,  # type: ignore[arg-type]
        )  # fmt: skip


async def test_a_slow_signer_holds_up_nobody_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = SlowJudge()
    opened = Open(tmp_path, autojump_clock, judge, workers=2)
    slow, honest = Peer(1), [Peer(number) for number in range(2, 8)]
    begun = trio.current_time()
    done: dict[int, float] = {}

    async def admit(peer: Peer, data: bytes) -> None:
        await opened.admission.admit(data, "forwarder")
        done[peer.number] = trio.current_time() - begun

    async with opened.pool, trio.open_nursery() as nursery:
        nursery.start_soon(admit, slow, slow.publish(*(slow.group(index, "slow", "right") for index in range(4))))
        await trio.sleep(0.1)
        for peer in honest:
            nursery.start_soon(admit, peer, peer.publish(peer.group(0), peer.group(1)))
    assert max(done[peer.number] for peer in honest) < 1
    assert done[slow.number] > 2 * SLOW_S
    assert not opened.admission.standing.good(slow.key, NOW_MS) or opened.admission.standing.points(slow.key, NOW_MS) > 0


async def test_a_signer_is_judged_in_its_order(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = SlowJudge()
    opened = Open(tmp_path, autojump_clock, judge, workers=3)
    peers = [Peer(number) for number in range(1, 4)]
    async with opened.pool, trio.open_nursery() as nursery:
        for _ in range(4):
            for peer in peers:
                nursery.start_soon(opened.admission.admit, peer.publish(peer.group(peer.next_index)), "forwarder")
                await trio.sleep(0.001)
    for peer in peers:
        assert [index for key, index in judge.judged if key == peer.key] == [0, 1, 2, 3]
    assert opened.admission.statistics().refused == {}


async def test_verification_seconds_are_a_budget(tmp_path: Path, autojump_clock: MockClock) -> None:
    rate = 0.05
    opened = Open(tmp_path, autojump_clock, SlowJudge(), bounds=PoolSection(signer_verification=rate))
    peer, other = Peer(1), Peer(2)
    async with opened.pool:
        reasons = []
        for number in range(2):
            groups = [peer.group(4 * number + index, "slow", "right") for index in range(4)]
            admitted = await opened.admission.admit(peer.publish(*groups), "forwarder")
            reasons += [refusal.reason for refusal in admitted.refusals]
        assert reasons == [Reason.VERIFIER_TIMEOUT] + [Reason.QUOTA] * 7, (
            f"{rate * BURST_S:g} s are used up by one of {SLOW_S:g} s"
        )
        assert opened.admission.standing.points(peer.key, opened.clock.now_ms()) == 0, "once may be bad luck"
        assert (await opened.admission.admit(other.publish(), "forwarder")).groups, "others have their own"
        await trio.sleep(BURST_S)
        assert (await opened.admission.admit(peer.publish(peer.group(8)), "forwarder")).groups, "the budget comes back"


@pytest.mark.parametrize(
    ("error", "reason", "points"),
    [(ChildDied("used up its seconds"), "verifier-timeout", LIMIT), (ChildTimeout("not given the processor"), "queue-full", 0.0)],
)
async def test_who_uses_up_the_verifiers_seconds_is_cut_off_and_who_meets_a_busy_machine_is_not(
    tmp_path: Path, autojump_clock: MockClock, error: Exception, reason: str, points: float
) -> None:
    async def rescore(recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        raise error

    opened = Open(tmp_path, autojump_clock, rescore)
    peer = Peer(1)
    async with opened.pool:
        await opened.admission.admit(peer.publish(*(peer.group(index) for index in range(4))), "forwarder")
        assert opened.admission.statistics().refused == {reason: 4}
        assert opened.admission.standing.points(peer.key, opened.clock.now_ms()) == pytest.approx(points)


async def test_without_verification_claims_are_believed(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = Judge()
    opened = Open(tmp_path, autojump_clock, judge, defences=DefencesSection(verify=False))
    peer = Peer(1)
    async with opened.pool:
        admitted = await opened.admission.admit(peer.publish(peer.group(0, "x", "y", rewards=(1.0, 0.0))), "forwarder")
    assert [group.rewards for group in admitted.groups] == [(1.0, 0.0)]
    assert judge.calls[0][3] == (), "the task is rebuilt, its answers are not scored"


async def test_a_flood_is_not_heard_and_its_signer_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    opened = Open(tmp_path, autojump_clock, Judge(), bounds=PoolSection(signer_messages_per_s=0.1))
    peer, other = Peer(1), Peer(2)
    heard = [opened.admission.hears(peer.publish()) for _ in range(20)]
    assert heard == [True] * 6 + [False] * 14
    assert not opened.admission.standing.good(peer.key, opened.clock.now_ms())
    assert opened.admission.statistics().screened == {"quota": 6, "standing": 8}, "cut off when it sent twice its burst"
    assert opened.admission.hears(other.publish())


async def test_old_envelopes_can_be_replayed_by_anybody_and_are_nobodys_fault(tmp_path: Path, autojump_clock: MockClock) -> None:
    opened = Open(tmp_path, autojump_clock, Judge(), bounds=PoolSection(signer_messages_per_s=0.1))
    peer = Peer(1, now_ms=NOW_MS - FRESH_MS - 1)
    for _ in range(50):
        opened.admission.hears(peer.publish())
    peer.now_ms = NOW_MS
    assert opened.admission.hears(peer.publish())


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1000)), max_size=30), st.floats(0.01, 100))
def test_a_bucket_never_gives_more_than_its_rate(spends: list[tuple[int, float]], rate: float) -> None:
    buckets, now_ms, taken = Buckets(rate), 0, 0.0
    for wait_ms, amount in spends:
        now_ms += wait_ms
        if buckets.left(b"x", now_ms) >= amount:
            buckets.spend(b"x", amount, now_ms)
            taken += amount
    assert taken <= rate * (BURST_S + now_ms / 1000) * (1 + 1e-9)


def test_bodies_count_towards_a_signers_bytes() -> None:
    budgets = Budgets(PoolSection(signer_bytes_per_s=1000))
    envelope = Peer(1).seal(Peer(1).share())
    assert budgets.charge(envelope, 60_000, NOW_MS).within
    assert not budgets.charge(envelope, 1000, NOW_MS).within
    assert budgets.charge(envelope, 60_000, NOW_MS).flood


async def test_both_queues_get_their_turns(autojump_clock: MockClock) -> None:
    turns, order, busy, most = Turns(2), [], {True: 0, False: 0}, {True: 0, False: 0}

    async def work(established: bool) -> None:
        async with turns.turn(established=established):
            busy[established] += 1
            most[established] = max(most[established], busy[established])
            order.append(established)
            await trio.sleep(1)
            busy[established] -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(work, False)
        await trio.sleep(0.1)
        for _ in range(10):
            nursery.start_soon(work, True)
        nursery.start_soon(_cancelled, turns)
    assert len(order) == 60
    assert most == {True: 1, False: 1} or most[False] == 1, "one slot is never a newcomer's"
    assert sum(order[:20]) >= 9, "fifty who wait longer do not come first"


async def _cancelled(turns: Turns) -> None:
    with trio.move_on_after(0.5):
        async with turns.turn(established=True):
            await trio.sleep(3)


items = st.tuples(st.integers(0, 4), st.integers(0, 60))


@given(st.lists(items, max_size=60), st.integers(1, 12), st.integers(1, 200))
def test_a_shelf_is_bounded_and_a_flood_displaces_itself(puts: list[tuple[int, int]], most: int, max_bytes: int) -> None:
    spared = bytes([0])
    shelf: Shelf[int, int] = Shelf(most, max_bytes, lambda signer: signer == spared)
    held: dict[int, tuple[bytes, int]] = {}
    for key, (number, size) in enumerate(puts):
        before = dict(held)
        dropped = shelf.put(bytes([number]), key, key, size)
        held[key] = bytes([number]), size
        held = {each: held[each] for each in held if shelf.get(each) is not None}
        assert len(held) == len(shelf) == len(before) + 1 - dropped
        assert len(held) <= most
        assert sum(size for _, size in held.values()) <= max_bytes
        if dropped and any(signer != spared for signer, _ in held.values()):
            gone = [before[each] for each in before if each not in held]
            assert all(signer != spared for signer, _ in gone), "who is known well is spared while others have anything"
    for number in range(5):
        mine = [key for key, (signer, _) in held.items() if signer == bytes([number])]
        assert [shelf.take_oldest(bytes([number])) for _ in mine] == mine, "oldest first"
        assert shelf.take_oldest(bytes([number])) is None
    assert len(shelf) == 0


def test_clock_that_does_not_move_gives_nothing_back() -> None:
    buckets, clock = Buckets(1.0), StillClock()
    buckets.spend(b"x", buckets.burst + 5, clock.now_ms())
    assert buckets.left(b"x", clock.now_ms()) == -5
    assert buckets.left(b"x", clock.now_ms() - 10_000) == -5
