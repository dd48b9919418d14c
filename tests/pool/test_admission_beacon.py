"""A share of an epoch of unknown value is refused without blame and stays in its signer's log."""

from __future__ import annotations

from pathlib import Path

from gate_shapes import OWN, admit_bytes
from swarm_shapes import EPOCH, NOW_MS, Judge, Peer, StillClock, context_of

from protocols.reasons import Reason
from swarm.config.schema import PoolSection
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool
from swarm.pool.standing.peer_scores import PeerScores


async def no_body(body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
    raise AssertionError


async def test_an_unknown_value_refuses_the_groups_and_blames_nobody(tmp_path: Path) -> None:
    known: dict[int, bytes] = {}
    async with Pool(tmp_path / "pool.sqlite", PoolSection(), StillClock()) as pool:
        judge = Judge()
        admission = Admission(context_of(OWN.private_key, StillClock()), pool, PeerScores(), judge, no_body, known.get)
        peer = Peer(1)
        first = await admit_bytes(admission, peer.publish())
        assert [refusal.reason for refusal in first.refusals] == [Reason.BEACON]
        assert (first.groups, judge.calls) == ((), [])
        assert admission.standing.good(peer.key, NOW_MS)
        assert await pool.run(lambda store: store.envelope_at(peer.key, 0)) is not None
        known[EPOCH] = bytes(32)
        second = await admit_bytes(admission, peer.publish())
        assert second.refusals == ()
        assert len(second.groups) == 1


async def test_beacon_refusals_never_cost_standing(tmp_path: Path) -> None:
    async with Pool(tmp_path / "pool.sqlite", PoolSection(), StillClock()) as pool:
        admission = Admission(context_of(OWN.private_key, StillClock()), pool, PeerScores(), Judge(), no_body, {}.get)
        peer = Peer(1)
        for _ in range(20):
            (refusal,) = (await admit_bytes(admission, peer.publish())).refusals
            assert refusal.reason is Reason.BEACON
