"""Two histories under one key: found, proved, passed on once, and acted on by everybody, for
good."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import trio
from log_shapes import LogMedium, LogNode
from swarm_shapes import NOW_MS, RULES, Peer
from trio.testing import MockClock

from protocols.envelope import open_envelope
from protocols.messages import Kind, Proof, unpack_body
from protocols.proof import check_proof
from protocols.reasons import Reason
from swarm.clock import VirtualClock
from swarm.exchange.receiving import validate
from swarm.net.network import Verdict
from swarm.net.simulated import MemoryNetwork
from swarm.pool.admission.opened import Opened
from swarm.pool.store import proof_table
from swarm.pool.store.store import Store


def medium_of(path: Path, clock: MockClock) -> LogMedium:
    return LogMedium(path, VirtualClock(clock, NOW_MS), MemoryNetwork(1))


def two_histories(length: int = 1, number: int = 40) -> tuple[list[bytes], list[bytes]]:
    """Two logs of one key, which differ from their first envelope on."""
    one, other = Peer(number), Peer(number)
    return (
        [one.publish() for _ in range(length)],
        [other.publish(other.group(other.next_index, "right", "other")) for _ in range(length)],
    )


def proof_of(store: Store, signer: bytes) -> Proof | None:
    """The kept proof against a signer, where its envelopes are still there."""
    rows = store.rows("SELECT one, other FROM proofs WHERE signer = ? AND LENGTH(one) > 0", (signer,))
    return Proof(*rows[0]) if rows else None


async def carried(nodes: list[LogNode]) -> list[Proof]:
    """The proofs in the nodes' own logs."""
    found = []
    for node in nodes:
        for entry in await node.pool.run(lambda store: list(store.own_log())):
            envelope = open_envelope(entry.envelope, RULES.id)
            if envelope.kind == Kind.PROOF:
                proof = unpack_body(Kind.PROOF, envelope.body)
                assert isinstance(proof, Proof)
                found.append(proof)
    return found


async def test_what_half_of_a_swarm_was_told_convicts_with_what_the_other_half_was_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    cheat, honest = Peer(40), Peer(41)
    ones, others = two_histories(3)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(medium.node(number)) for number in range(1, 9)]
        for place, node in enumerate(nodes):
            for data in ones if place % 2 else others[:2]:
                assert await node.admit(data) == []
            assert await node.admit(honest_copy := honest_first(honest)) == []
            assert honest_copy
        await trio.sleep(120)
        for node in nodes:
            assert await node.pool.run(proof_table.equivocators) == [cheat.key]
            proof = await node.pool.run(lambda store: proof_of(store, cheat.key))
            assert proof is not None
            assert check_proof(proof, RULES.id) == cheat.key
            assert await node.admit(Peer(40, sequence=9, previous=bytes([1]) * 32).publish()) == [Reason.STANDING]
            assert node.admission.standing.good(honest.key, medium.clock.now_ms())
        assert len(await carried(nodes)) == 1, "one passes it on, the others heard it"
        assert all(check_proof(proof, RULES.id) == cheat.key for proof in await carried(nodes))
        # The log that carries it is like any other: its next share joins, and it is complete
        # everywhere.
        for node in nodes:
            assert await node.share()
        await trio.sleep(60)
        assert {len(sequences) for node in nodes for key, sequences in (await node.held()).items() if key != cheat.key} == {1, 2}
        assert all("index-gap" not in refused for refused in [await node.refused() for node in nodes])
    async with medium.node(1) as again:
        assert await again.admit(Peer(40, sequence=9, previous=bytes([1]) * 32).publish()) == [Reason.STANDING]
        assert await again.admit(ones[0]) in ([Reason.STANDING], [Reason.DUPLICATE])
        await trio.sleep(60)
        assert len(await carried([again])) <= 1, "nor does a restart publish it again"


def honest_first(peer: Peer) -> bytes:
    return Peer(peer.number).publish()


async def test_a_longer_history_on_another_branch_is_followed_back_to_the_fork(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    ones, others = two_histories(6)
    async with medium.node(1) as one, medium.node(2, sync=False) as other:
        for data in ones[:3]:
            await one.admit(data)
        for data in others:
            await other.admit(data)
        await trio.sleep(60)
        assert await one.pool.run(proof_table.equivocators) == [Peer(40).key]
        assert await other.pool.run(proof_table.equivocators) == [Peer(40).key], "told by gossip of the proof"


async def test_a_late_node_learns_of_it_from_the_log_that_carries_the_proof(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    (one_envelope,), (other_envelope,) = two_histories()
    async with medium.node(1) as one:
        assert await one.admit(one_envelope) == []
        assert await one.admit(other_envelope) == [Reason.EQUIVOCATION]
        await trio.sleep(30)
        async with medium.node(2) as late:
            await trio.sleep(60)
            assert await late.pool.run(proof_table.equivocators) == [Peer(40).key]
            assert await carried([one, late]) == [await late.pool.run(lambda store: proof_of(store, Peer(40).key))]


async def test_a_false_proof_costs_its_sender(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    victim, accuser = Peer(50), Peer(51)
    first, second = victim.publish(), victim.publish()
    twice = Proof(*sorted((first, second)))
    forged = Proof(*sorted((first, first[:-1] + bytes([first[-1] ^ 1]))))
    async with medium.node(1) as node:
        for proof in (twice, forged):
            envelope = accuser.seal(proof)
            accuser.sequence, accuser.previous = accuser.sequence + 1, envelope.id
            assert await node.admit(envelope.to_bytes()) == [Reason.FALSE_PROOF]
        now_ms = medium.clock.now_ms()
        assert node.admission.standing.points(accuser.key, now_ms) > 1.5
        assert node.admission.standing.points(victim.key, now_ms) == 0
        assert await node.pool.run(proof_table.equivocators) == []
        assert await node.admit(first) == []
        assert (await node.held())[accuser.key] == [0, 1], "it stays in the log, where everybody can see it"


async def test_who_is_convicted_is_neither_forwarded_nor_drawn_and_is_listed(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    cheat, now_ms = Peer(40), medium.clock.now_ms()
    (one,), (other,) = two_histories()
    accuser = Peer(41).seal(Proof(*sorted((one, other)))).to_bytes()
    later = Peer(40, sequence=7, previous=bytes([1]) * 32).publish()
    async with medium.node(1) as node:
        standing = node.admission.standing
        assert isinstance(validate(node.admission, later), Opened)
        assert await node.admit(accuser) == []
        assert standing.points(cheat.key, now_ms) == 0, "found by somebody else, and acted on all the same"
        assert validate(node.admission, later) is Verdict.IGNORE
        assert standing.weight(cheat.key, now_ms) == 0
        assert standing.describe(cheat.key, now_ms).standing == "convicted"
        assert standing.notable(5, now_ms) == (cheat.key,)
    async with medium.node(1) as node:
        assert validate(node.admission, later) is Verdict.IGNORE, "also after a restart"
        assert await node.admit(later) == [Reason.STANDING]


async def test_proofs_take_bounded_room(tmp_path: Path, autojump_clock: MockClock, monkeypatch) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    monkeypatch.setattr(proof_table, "MAX_BYTES", 2000)
    monkeypatch.setattr(proof_table, "MAX_SIGNERS", 4)
    monkeypatch.setattr(proof_table, "TRIMMED_EVERY", 1)
    async with medium.node(1) as node:
        for number in range(60, 66):
            (one,), (other,) = two_histories(number=number)
            assert await node.admit(one) == []
            assert await node.admit(other) == [Reason.EQUIVOCATION]
            await trio.sleep(1)
        kept = [await node.pool.run(lambda store, n=number: proof_of(store, Peer(n).key)) for number in range(60, 66)]
        assert 1 <= sum(proof is not None for proof in kept) < 4
        assert kept[-1] is not None
        assert set(await node.pool.run(proof_table.equivocators)) == {Peer(number).key for number in range(62, 66)}


async def test_a_crowd_that_convicts_itself_does_not_fill_the_own_log(tmp_path: Path, autojump_clock: MockClock) -> None:
    medium = medium_of(tmp_path, autojump_clock)
    async with medium.node(1) as node:
        for number in range(60, 64):
            big = Proof(bytes([number]) * 60_000, bytes([number + 1]) * 60_000)
            await node.pool.run(
                lambda store, n=number, big=big: proof_table.keep(store, Peer(n).key, big, NOW_MS, proof_table.NOT_CARRIED)
            )
        await trio.sleep(50)
        assert await node.pool.run(lambda store: store.statistics().own_envelopes) == 1
        await trio.sleep(300)
        assert await node.pool.run(lambda store: store.statistics().own_envelopes) == 4, "each in its turn"
