"""Admission: signed bytes provoke every refusal, and our own verifier alone gives rewards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from gate_shapes import Gate, gate_at
from swarm_shapes import EPOCH, HOUR_MS, NOW_MS, RULES, Peer, StillClock, answers
from trio.testing import MockClock

from protocols.limits import MAX_ENVELOPE_BYTES
from protocols.messages import Announce, Kind, Proof
from protocols.reasons import Reason
from protocols.recipe import local_beacon, seed
from swarm.clock import VirtualClock
from swarm.errors import NetworkError
from swarm.pool.admission.epochs import CLOCK_SKEW_MS
from swarm.pool.admission.opened import Opened
from swarm.pool.admission.pulls import MAX_PULLS, MAX_PULLS_PER_SIGNER
from swarm.pool.standing.peer_scores import BLAMED, LIMIT


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    async with gate_at(tmp_path) as gate:
        yield gate


async def test_an_honest_share_is_admitted_with_our_own_rewards(gate: Gate) -> None:
    peer = Peer()
    data = peer.publish(peer.group(0), peer.group(2, "wrong", "right!", "x"), count=4)
    admitted = await gate.admit(data)
    assert admitted.refusals == ()
    assert [(group.task.recipe.index, group.rewards) for group in admitted.groups] == [(0, (1.0, 0.0)), (2, (0.0, 1.0, 0.0))]
    for group, (recipe, recipe_seed, rendering, texts) in zip(admitted.groups, gate.judge.calls, strict=True):
        assert recipe == group.task.recipe
        assert recipe_seed == group.task.seed == seed(recipe, local_beacon(RULES.id, EPOCH))
        assert (rendering, list(texts)) == ("compact", [each.text for each in group.completions])
        assert (group.signer, group.received_ms, group.token_ids) == (peer.key, NOW_MS, None)
        assert group.envelope == peer.previous
    kept = await gate.pool.run(lambda store: store.groups(limit=9))
    assert {group for _, _, group in kept} == set(admitted.groups)
    assert await gate.pool.run(lambda store: store.envelope_at(peer.key, 0)) == peer.previous
    statistics = gate.admission.statistics()
    assert (statistics.messages, statistics.received, statistics.groups, statistics.refused) == (1, 2, 2, {})


Provocation = Callable[[Gate], bytes]


def one(make: Callable[[Peer], bytes]) -> Provocation:
    return lambda gate: make(Peer())


def after(*before: Callable[[Peer], bytes]) -> Callable[[Callable[[Peer], bytes]], Callable[[Gate], list[bytes]]]:
    """A provocation that needs a history."""

    def last(make: Callable[[Peer], bytes]) -> Callable[[Gate], list[bytes]]:
        peer = Peer()
        return lambda gate: [*(each(peer) for each in before), make(peer)]

    return last


def share_with(**changes: object) -> Provocation:
    return one(lambda peer: peer.publish(peer.group(0, **changes)))


def announced(replacement: Callable[[bytes], bytes] | None) -> Provocation:
    def make(gate: Gate) -> bytes:
        data, body = Peer().announce()
        if replacement is not None:
            gate.bodies[hashlib.sha256(body).digest()] = replacement(body)
        return data

    return make


def wrong_signature(peer: Peer) -> bytes:
    data = bytearray(peer.publish())
    data[-1] ^= 1
    return bytes(data)


PROVOKED: dict[Reason, Callable[[Gate], bytes | list[bytes]]] = {
    Reason.TOO_LARGE: lambda gate: bytes(MAX_ENVELOPE_BYTES + 1),
    Reason.MALFORMED: one(lambda peer: peer.publish()[:-1]),
    Reason.NOT_CANONICAL: one(lambda peer: b"\x98\xcc\x01" + peer.publish()[2:]),
    Reason.VERSION: one(lambda peer: peer.sign_anything(Kind.SHARE, b"", version=2)),
    Reason.KIND: one(lambda peer: peer.sign_anything(77, b"")),
    Reason.SCHEMA: one(lambda peer: peer.sign_anything(Kind.SHARE, b"\x90")),
    Reason.SIGNATURE: one(wrong_signature),
    Reason.OWN_KEY: lambda gate: Peer(99).publish(),
    Reason.EQUIVOCATION: after(lambda peer: peer.seal(peer.share()).to_bytes())(
        lambda peer: peer.seal(peer.share(peer.group(0, "right", "other"))).to_bytes()
    ),
    Reason.CHAIN: after(Peer.publish)(lambda peer: peer.seal(peer.share(), previous=bytes(31) + b"\x01").to_bytes()),
    Reason.STALE: one(lambda peer: peer.publish(peer.group(0, epoch=EPOCH - 2), epoch=EPOCH - 2)),
    Reason.FUTURE: one(lambda peer: peer.seal(peer.share(), time_ms=NOW_MS + CLOCK_SKEW_MS + 1).to_bytes()),
    Reason.PROPOSER: share_with(proposer=Peer(2).key),
    Reason.UNKNOWN_ENVIRONMENT: share_with(environment="toy/none"),
    Reason.ENVIRONMENT_VERSION: share_with(version="2"),
    Reason.PARAMETER: share_with(parameters=(("level", 3),)),
    Reason.RENDERING: share_with(rendering="prose"),
    Reason.EPOCH: one(lambda peer: peer.publish(peer.group(0, epoch=EPOCH + 1), epoch=EPOCH + 1)),
    Reason.INDEX: one(lambda peer: peer.publish(peer.group(99), count=101)),
    Reason.INDEX_GAP: after(Peer.publish)(lambda peer: peer.publish(peer.group(5), first_index=3, count=3)),
    Reason.GROUP_COUNT: one(lambda peer: peer.publish(*(peer.group(index) for index in range(5)))),
    Reason.GROUP_SIZE: one(lambda peer: peer.publish(peer.group(0, "right"))),
    Reason.COMPLETION_LENGTH: one(lambda peer: peer.publish(peer.group(0, "right", "w" * 17))),
    Reason.VERIFIER_TIMEOUT: one(lambda peer: peer.publish(peer.group(0, "right", "slow"))),
    Reason.VERIFIER_FAILED: one(lambda peer: peer.publish(peer.group(0, "right", "broken"))),
    Reason.REWARD: share_with(rewards=(1.0, 1.0)),
    Reason.FALSE_PROOF: one(lambda peer: peer.seal(Proof(b"one", b"two")).to_bytes()),
    Reason.BODY_UNAVAILABLE: announced(None),
    Reason.BODY_MISMATCH: announced(lambda body: body[:-1] + bytes([body[-1] ^ 1])),
    Reason.DUPLICATE: after(lambda peer: peer.seal(peer.share()).to_bytes())(
        lambda peer: peer.seal(peer.share()).to_bytes()
    ),
}  # fmt: skip

# Reasons of other places (invites, manifests), and of what a later version judges.
GIVEN_ELSEWHERE = {Reason.CHECKSUM, Reason.MANIFEST, Reason.BEACON}


def test_every_reason_is_provoked_here_or_given_elsewhere() -> None:
    assert set(PROVOKED) | {Reason.STANDING, Reason.QUOTA, Reason.QUEUE_FULL} | GIVEN_ELSEWHERE == set(Reason)


@pytest.mark.parametrize("reason", PROVOKED, ids=str)
async def test_refused_with_the_reason_counted_and_kept(gate: Gate, reason: Reason) -> None:
    provoked = PROVOKED[reason](gate)
    *history, data = provoked if isinstance(provoked, list) else [provoked]
    for each in history:
        assert await gate.reasons(each) == []
    verified = len(gate.judge.calls)
    admitted = await gate.admit(data)
    assert [refusal.reason for refusal in admitted.refusals] == [reason]
    by_verifying = reason in {Reason.VERIFIER_TIMEOUT, Reason.VERIFIER_FAILED, Reason.REWARD}
    assert len(gate.judge.calls) - verified == by_verifying, "what breaks a rule is never given to a worker"
    assert admitted.groups == ()
    assert gate.admission.statistics().refused == {reason: 1}
    assert await gate.pool.run(lambda store: store.refusals()) == {str(reason): 1}
    assert len(await gate.pool.run(lambda store: store.groups(limit=9))) == len(history)
    signer = admitted.refusals[0].signer
    assert gate.admission.standing.points(signer, NOW_MS) == (1.0 if reason in BLAMED else 0.0)
    # Nobody is blamed for bytes that he may not have sent.
    assert (signer == b"") == (reason in {"too-large", "malformed", "not-canonical", "version", "kind", "schema", "signature"})


@pytest.mark.parametrize(
    "completion", [answers("right", "w" * 16, tokens=17), answers("right", "ä" * 17), answers("right", "ok", tokens=2**50)]
)
async def test_tokens_and_characters_are_both_capped(gate: Gate, completion: tuple) -> None:
    peer = Peer()
    assert await gate.reasons(peer.publish(peer.group(0, completions=completion))) == [Reason.COMPLETION_LENGTH]
    assert await gate.reasons(peer.publish(peer.group(1, "right", "ä" * 16))) == []


async def test_a_group_is_refused_alone(gate: Gate) -> None:
    peer = Peer()
    data = peer.publish(
        peer.group(0), peer.group(1, rewards=(0.0, 0.0)), peer.group(2, "right", "slow"), peer.group(3, "right", "fine")
    )
    admitted = await gate.admit(data)
    assert [group.task.recipe.index for group in admitted.groups] == [0, 3]
    assert [refusal.reason for refusal in admitted.refusals] == [Reason.REWARD, Reason.VERIFIER_TIMEOUT]
    assert gate.admission.statistics().received == 4


async def test_a_task_is_taken_once_even_in_another_envelope(gate: Gate) -> None:
    peer = Peer()
    await gate.admit(peer.publish(peer.group(0), count=2))
    again = peer.seal(peer.share(peer.group(0), peer.group(1), first_index=0, count=2), sequence=peer.sequence + 5)
    # A restarted node has forgotten the range but not the group.
    gate.admission = gate.reopened()
    admitted = await gate.admit(again.to_bytes())
    assert [refusal.reason for refusal in admitted.refusals] == [Reason.DUPLICATE]
    assert [group.task.recipe.index for group in admitted.groups] == [1]


async def test_a_silenced_signer_costs_no_verification_and_no_body(gate: Gate) -> None:
    peer, bystander = Peer(), Peer(2)
    for _ in range(int(LIMIT)):
        assert await gate.reasons(peer.publish(peer.group(peer.next_index, rewards=(1.0, 1.0)))) == [Reason.REWARD]
    calls = len(gate.judge.calls)
    assert await gate.reasons(peer.publish()) == [Reason.STANDING]
    assert await gate.reasons(peer.announce()[0]) == [Reason.STANDING]
    assert (len(gate.judge.calls), gate.fetched) == (calls, [])
    assert await gate.reasons(bystander.publish()) == [], "one signer's faults are not another's"
    statistics = gate.admission.standing.statistics(NOW_MS)
    assert (statistics.marked, statistics.silenced) == (1, 1)


async def test_standing_fades(gate: Gate) -> None:
    peer = Peer()
    for _ in range(int(LIMIT)):
        await gate.admit(peer.publish(peer.group(peer.next_index, rewards=(1.0, 1.0))))
    assert not gate.admission.standing.good(peer.key, NOW_MS)
    gate.clock.ms += 60_000
    peer.now_ms = gate.clock.ms
    assert await gate.reasons(peer.publish()) == []
    before = gate.admission.standing.points(peer.key, gate.clock.ms)
    assert gate.admission.standing.points(peer.key, 0) <= LIMIT, "nor does a clock that was set back make points grow"
    assert gate.admission.standing.points(peer.key, gate.clock.ms + 600_000) == pytest.approx(before / 2)


# The log's order


async def test_adjacent_shares_must_join_and_gaps_between_missed_ones_are_forgiven(gate: Gate) -> None:
    peer = Peer()
    assert await gate.reasons(peer.publish(count=10)) == []
    missed = peer.publish(peer.group(12), count=5)
    assert await gate.reasons(peer.publish(peer.group(15))) == []
    assert await gate.reasons(missed) == [], "late is not wrong"
    assert await gate.reasons(peer.publish(peer.group(16))) == []
    backwards = peer.seal(peer.share(peer.group(9), first_index=9, count=1), sequence=peer.sequence + 3)
    assert await gate.reasons(backwards.to_bytes()) == [Reason.INDEX_GAP], "indices never go back, whatever was missed"


async def test_a_new_epoch_begins_at_zero(gate: Gate) -> None:
    peer = Peer()
    await gate.admit(peer.publish(count=7))
    gate.clock.ms += HOUR_MS
    late = peer.publish(peer.group(7))
    assert await gate.reasons(late) == [], "shares of the epoch before still travel"
    assert await gate.reasons(peer.publish(peer.group(8, epoch=EPOCH + 1), epoch=EPOCH + 1)) == [Reason.INDEX_GAP]
    peer.next_index = 0
    assert await gate.reasons(peer.publish(peer.group(0, epoch=EPOCH + 1), epoch=EPOCH + 1)) == []
    back = peer.seal(peer.share(peer.group(8), first_index=8))
    assert await gate.reasons(back.to_bytes()) == [Reason.INDEX_GAP], "an epoch that was left is not entered again"


async def test_a_signer_first_heard_in_the_middle_of_its_log(gate: Gate) -> None:
    peer = Peer(next_index=40, sequence=8, previous=bytes([7]) * 32)
    assert await gate.reasons(peer.publish()) == []
    assert await gate.reasons(peer.publish()) == []


async def test_a_forked_log_is_seen_by_its_chain(gate: Gate) -> None:
    peer, fork = Peer(), Peer()
    fork.publish(fork.group(0, "right", "fork"))
    assert await gate.reasons(peer.publish()) == []
    assert await gate.reasons(fork.publish()) == [Reason.CHAIN]
    assert await gate.reasons(peer.publish()) == []


async def test_what_is_remembered_of_signers_is_bounded(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.pool.admission.ranges.MAX_SIGNERS", 3)
    gate.admission = gate.reopened()
    peers = [Peer(number) for number in range(1, 6)]
    for peer in peers:
        await gate.admit(peer.publish(count=5))
    gapped = [peer.seal(peer.share(peer.group(9), first_index=9, count=1)).to_bytes() for peer in reversed(peers)]
    assert [await gate.reasons(data) for data in gapped] == [[Reason.INDEX_GAP]] * 3 + [[], []]


# Announced bodies


async def test_an_announced_body_is_pulled_checked_and_served_on(gate: Gate) -> None:
    peer = Peer()
    data, body = peer.announce(peer.group(0), peer.group(1))
    body_hash = hashlib.sha256(body).digest()
    gate.bodies[body_hash] = body
    admitted = await gate.admit(data)
    assert (len(admitted.groups), admitted.refusals) == (2, ())
    assert gate.fetched == [(body_hash, len(body), "forwarder", peer.key)]
    assert await gate.pool.run(lambda store: store.body(body_hash)) == body
    assert await gate.reasons(data) == [Reason.DUPLICATE]
    assert len(gate.fetched) == 1, "a body is pulled once"


async def test_a_pulled_body_is_judged_like_any_other(gate: Gate) -> None:
    peer = Peer()
    data, body = peer.announce(peer.group(0, proposer=Peer(2).key))
    gate.bodies[hashlib.sha256(body).digest()] = body
    assert await gate.reasons(data) == [Reason.PROPOSER]
    junk = b"\xc1junk"
    data = peer.seal(Announce(hashlib.sha256(junk).digest(), len(junk))).to_bytes()
    gate.bodies[hashlib.sha256(junk).digest()] = junk
    assert await gate.reasons(data) == [Reason.MALFORMED]


async def test_a_body_that_was_not_to_be_had_may_come_again(gate: Gate) -> None:
    data, body = Peer().announce()
    assert await gate.reasons(data) == [Reason.BODY_UNAVAILABLE]
    gate.bodies[hashlib.sha256(body).digest()] = body
    assert await gate.reasons(data) == []


async def test_a_body_that_is_long_in_coming_holds_up_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    slow = [Peer(number) for number in range(1, 2 + MAX_PULLS // MAX_PULLS_PER_SIGNER)]
    outcomes: Counter[str] = Counter()

    async def fetch(*announced: object) -> bytes:
        await trio.sleep(20)
        raise NetworkError("too late")

    async with gate_at(tmp_path, VirtualClock(autojump_clock, NOW_MS)) as gate:

        async def admit(data: bytes) -> None:
            outcomes.update(await gate.reasons(data))

        gate.fetch = fetch  # type: ignore[method-assign]
        gate.admission = gate.reopened()
        async with trio.open_nursery() as nursery:
            for peer in slow:
                for _ in range(MAX_PULLS_PER_SIGNER + (peer is slow[0])):
                    nursery.start_soon(admit, peer.announce()[0])
                await trio.sleep(1)
            assert outcomes == {Reason.QUOTA: 1, Reason.QUEUE_FULL: MAX_PULLS_PER_SIGNER}
            assert await gate.reasons(Peer(50).publish()) == []
            assert trio.current_time() < 20
        assert outcomes[Reason.BODY_UNAVAILABLE] == MAX_PULLS
        assert await gate.reasons(slow[-1].announce()[0]) == [Reason.BODY_UNAVAILABLE], "the places are free again"


async def test_two_histories_pulled_at_once_are_one_and_a_proof(gate: Gate, autojump_clock: MockClock) -> None:
    one, other = Peer(), Peer()
    announced = [one.announce(), other.announce(other.group(0, "right", "other"))]
    gate.bodies = {hashlib.sha256(body).digest(): body for _, body in announced}
    fetch = gate.fetch

    async def slowly(*arguments: Any) -> bytes:
        await trio.sleep(1)
        return await fetch(*arguments)

    gate.fetch = slowly  # type: ignore[method-assign]
    gate.admission = gate.reopened()
    outcomes: list[list[Reason]] = []

    async def admit(data: bytes) -> None:
        outcomes.append(await gate.reasons(data))

    async with trio.open_nursery() as nursery:
        for data, _ in announced:
            nursery.start_soon(admit, data)
    assert sorted(outcomes) == [[], [Reason.EQUIVOCATION]]


# Screening


def test_screening_names_the_same_reasons_and_counts_them() -> None:
    gate = Gate(None, StillClock())  # type: ignore[arg-type]
    seen: dict[str, int] = {}
    for reason in ("too-large", "malformed", "not-canonical", "version", "kind", "schema", "signature"):
        data = PROVOKED[Reason(reason)](gate)
        assert isinstance(data, bytes)
        assert gate.admission.screen(data) == reason
        seen[reason] = 1
    assert isinstance(gate.admission.screen(Peer().publish()), Opened)
    assert gate.admission.statistics().refused == dict(sorted(seen.items()))


def test_another_swarms_envelope_does_not_open() -> None:
    gate = Gate(None, StillClock())  # type: ignore[arg-type]
    other = Peer(rules=replace(RULES, name="other"))
    assert gate.admission.screen(other.publish()) == Reason.SIGNATURE
