"""Nobody's slow group holds up another signer or is verified for longer than its budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from gate_shapes import OWN, admit_bytes
from swarm_shapes import NOW_MS, RULES, Judge, Judged, Peer, StillClock, context_of, rewards_of, task_of
from trio.testing import MockClock

from protocols.reasons import Reason
from protocols.recipe import Recipe
from swarm.beacon.beacon import LocalBeacon
from swarm.clock import VirtualClock
from swarm.config.schema import Config, DefencesSection, PoolSection, ScoringSection
from swarm.errors import ChildDied, ChildTimeout, NetworkError
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.budgets import BURST_S, BYTES_PER_S, FRESH_MS, MESSAGES_PER_S, NEWCOMER_BURST_S, VERIFICATION, Budgets
from swarm.pool.admission.opened import open_message
from swarm.pool.admission.verification import Rescore, WorkerSlots
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import LIMIT, PeerScores

SLOW_S = 5.0


class SlowJudge:
    """Answers with "slow" take 5 s and fail, others take 10 ms. Notes who was judged when."""

    def __init__(self, slow_s: float = SLOW_S) -> None:
        self.slow_s = slow_s
        self.judged: list[tuple[bytes, int]] = []

    async def __call__(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        if "slow" in texts:
            await trio.sleep(self.slow_s)
            raise ChildDied("used up its seconds")
        await trio.sleep(0.01)
        self.judged.append((recipe.proposer, recipe.index))
        return Judged(task_of(recipe, seed), tuple(rewards_of(texts)))


async def no_body(body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
    raise NetworkError("nobody has it")


class Open:
    """An admission on a virtual clock, whose judge the test chose."""

    def __init__(self, path: Path, mock: MockClock, rescore: Rescore, workers: int = 1, **settings: Any) -> None:
        self.clock = VirtualClock(mock, NOW_MS)
        self.pool = Pool(path / "pool.sqlite", PoolSection(), self.clock)
        config = Config(scoring=ScoringSection(workers=workers), **settings)
        context = context_of(OWN.private_key, self.clock, config=config)
        beacon = LocalBeacon(RULES).value
        self.admission = Admission(context, self.pool, PeerScores(), rescore, no_body, beacon)

    def hears(self, data: bytes) -> bool:
        return self.admission.hears(open_message(data, RULES.id))


async def test_a_slow_signer_holds_up_nobody_else(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = SlowJudge()
    opened = Open(tmp_path, autojump_clock, judge, workers=2)
    slow, honest = Peer(1), [Peer(number) for number in range(2, 8)]
    begun = trio.current_time()
    done: dict[int, float] = {}

    async def admit(peer: Peer, data: bytes) -> None:
        await admit_bytes(opened.admission, data)
        done[peer.number] = trio.current_time() - begun

    async with opened.pool, trio.open_nursery() as nursery:
        nursery.start_soon(admit, slow, slow.publish(*(slow.group(index, "slow", "right") for index in range(4))))
        await trio.sleep(0.1)
        for peer in honest:
            nursery.start_soon(admit, peer, peer.publish(peer.group(0), peer.group(1)))
    assert max(done[peer.number] for peer in honest) < 1
    assert done[slow.number] >= SLOW_S
    assert opened.admission.statistics().refused == {"verifier-timeout": 1, "quota": 3}, "a newcomer has few seconds at once"


async def test_a_signer_is_judged_in_its_order(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = SlowJudge()
    opened = Open(tmp_path, autojump_clock, judge, workers=3)
    peers = [Peer(number) for number in range(1, 4)]
    async with opened.pool, trio.open_nursery() as nursery:
        for _ in range(4):
            for peer in peers:
                nursery.start_soon(admit_bytes, opened.admission, peer.publish(peer.group(peer.next_index)))
                await trio.sleep(0.001)
    for peer in peers:
        assert [index for key, index in judge.judged if key == peer.key] == [0, 1, 2, 3]
    assert opened.admission.statistics().refused == {}


async def test_verification_seconds_are_a_budget(tmp_path: Path, autojump_clock: MockClock) -> None:
    slow_s = 20.0
    opened = Open(tmp_path, autojump_clock, SlowJudge(slow_s))
    peer, other = Peer(1), Peer(2)
    async with opened.pool:
        reasons = []
        for number in range(2):
            groups = [peer.group(4 * number + index, "slow", "right") for index in range(4)]
            admitted = await admit_bytes(opened.admission, peer.publish(*groups))
            reasons += [refusal.reason for refusal in admitted.refusals]
        assert reasons == [Reason.VERIFIER_TIMEOUT] + [Reason.QUOTA] * 7, (
            f"{VERIFICATION * NEWCOMER_BURST_S:g} s are used up by one of {slow_s:g} s"
        )
        assert opened.admission.standing.points(peer.key, opened.clock.now_ms()) == 0, "once may be bad luck"
        assert (await admit_bytes(opened.admission, other.publish())).groups, "others have their own"
        await trio.sleep(BURST_S)
        assert (await admit_bytes(opened.admission, peer.publish(peer.group(8)))).groups, "the budget comes back"


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
        await admit_bytes(opened.admission, peer.publish(*(peer.group(index) for index in range(4))))
        assert opened.admission.statistics().refused == {reason: 4}
        assert opened.admission.standing.points(peer.key, opened.clock.now_ms()) == pytest.approx(points)


async def test_without_verification_claims_are_believed(tmp_path: Path, autojump_clock: MockClock) -> None:
    judge = Judge()
    opened = Open(tmp_path, autojump_clock, judge, defences=DefencesSection(verify=False))
    peer = Peer(1)
    async with opened.pool:
        admitted = await admit_bytes(opened.admission, peer.publish(peer.group(0, "x", "y", rewards=(1.0, 0.0))))
    assert [group.rewards for group in admitted.groups] == [(1.0, 0.0)]
    assert judge.calls[0][3] == (), "the task is rebuilt, its answers are not scored"


async def test_a_flood_is_not_heard_and_its_signer_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    opened = Open(tmp_path, autojump_clock, Judge())
    peer, other = Peer(1), Peer(2)
    burst = int(MESSAGES_PER_S * BURST_S)
    heard = [opened.hears(peer.publish()) for _ in range(2 * burst + 8)]
    assert heard == [True] * burst + [False] * (burst + 8)
    assert not opened.admission.standing.good(peer.key, opened.clock.now_ms())
    assert opened.admission.statistics().screened == {"quota": burst, "standing": 8}, "cut off when it sent twice its burst"
    assert opened.hears(other.publish())


async def test_old_envelopes_can_be_replayed_by_anybody_and_are_nobodys_fault(tmp_path: Path, autojump_clock: MockClock) -> None:
    opened = Open(tmp_path, autojump_clock, Judge())
    peer = Peer(1, now_ms=NOW_MS - FRESH_MS - 1)
    for _ in range(2 * int(MESSAGES_PER_S * BURST_S) + 8):
        opened.hears(peer.publish())
    peer.now_ms = NOW_MS
    assert opened.hears(peer.publish())


def test_bodies_count_towards_a_signers_bytes() -> None:
    budgets, burst = Budgets(StillClock()), int(BYTES_PER_S * BURST_S)
    envelope = Peer(1).seal(Peer(1).share())
    assert budgets.charge(envelope, burst).within
    assert not budgets.charge(envelope, 1000).within
    assert budgets.charge(envelope, burst).flood


async def test_both_queues_get_their_turns(autojump_clock: MockClock) -> None:
    slots, order, busy, most = WorkerSlots(2), [], {True: 0, False: 0}, {True: 0, False: 0}

    async def work(established: bool) -> None:
        async with slots.slot(established=established):
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
        nursery.start_soon(_cancelled, slots)
    assert len(order) == 60
    assert most == {True: 1, False: 1} or most[False] == 1, "one slot is never a newcomer's"
    assert sum(order[:20]) >= 9, "fifty who wait longer do not come first"


async def _cancelled(slots: WorkerSlots) -> None:
    with trio.move_on_after(0.5):
        async with slots.slot(established=True):
            await trio.sleep(3)


SLOW_ENVIRONMENT = RULES.environments[1].name


class ByEnvironment:
    """A group of one environment takes 3.5 s, as slow right answers did, others take 10 ms."""

    def __init__(self) -> None:
        self.slow = 0

    async def __call__(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Judged:
        slow = recipe.environment == SLOW_ENVIRONMENT
        await trio.sleep(3.5 if slow else 0.01)
        self.slow += slow
        return Judged(task_of(recipe, seed), tuple(rewards_of(texts)))


async def test_fresh_keys_with_slow_right_answers_hold_up_nobody_while_a_node_is_young(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    judge, waited = ByEnvironment(), []
    opened = Open(tmp_path, autojump_clock, judge, workers=2)
    numbers = iter(range(100, 1000))

    async def attack() -> None:
        while True:
            peer = Peer(next(numbers))
            groups = [peer.group(index) for index in range(4)]
            kind = {"environment": SLOW_ENVIRONMENT, "parameters": (("level", 0),)}
            slow = [replace(each, recipe=replace(each.recipe, **kind)) for each in groups]
            admitted = await admit_bytes(opened.admission, peer.publish(*slow))
            assert len(admitted.groups) == 1, "the first group is all that a newcomer may use at once"

    async with opened.pool, trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(attack)
        for number in range(20):
            await trio.sleep(1)
            peer, begun = Peer(number + 1), trio.current_time()
            assert len((await admit_bytes(opened.admission, peer.publish(peer.group(0)))).groups) == 1
            waited.append(trio.current_time() - begun)
        nursery.cancel_scope.cancel()
    assert judge.slow > 3, "the slow ones have their turn"
    assert max(waited) < 3.5, "before it was known what is slow"
    assert max(waited[1:]) < 0.1
