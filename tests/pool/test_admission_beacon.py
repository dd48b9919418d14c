"""A share of an epoch whose value is not known here is refused without blame, and remains an entry of its signer's log."""

from __future__ import annotations

from pathlib import Path

from gate_shapes import OWN
from swarm_shapes import EPOCH, NOW_MS, RULES, Judge, Peer, StillClock

from protocols.reasons import Reason
from swarm.config.schema import PoolSection
from swarm.pool.admission.admission import Admission
from swarm.pool.pool import Pool


async def no_body(body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
    raise AssertionError


async def test_an_unknown_value_refuses_the_groups_and_blames_nobody(tmp_path: Path) -> None:
    known: dict[int, bytes] = {}
    async with Pool(tmp_path / "pool.sqlite", PoolSection(), StillClock()) as pool:
        judge = Judge()
        admission = Admission(RULES, OWN.key, pool, judge, no_body, known.get, StillClock())
        peer = Peer(1)
        first = await admission.admit(peer.publish(), "forwarder")
        assert [refusal.reason for refusal in first.refusals] == [Reason.BEACON]
        assert (first.groups, judge.calls) == ((), [])
        assert admission.standing.good(peer.key, NOW_MS)
        assert await pool.run(lambda store: store.envelope_at(peer.key, 0)) is not None
        known[EPOCH] = bytes(32)
        second = await admission.admit(peer.publish(), "forwarder")
        assert second.refusals == ()
        assert len(second.groups) == 1


async def test_beacon_refusals_never_cost_standing(tmp_path: Path) -> None:
    async with Pool(tmp_path / "pool.sqlite", PoolSection(), StillClock()) as pool:
        admission = Admission(RULES, OWN.key, pool, Judge(), no_body, {}.get, StillClock())
        peer = Peer(1)
        for _ in range(20):
            (refusal,) = (await admission.admit(peer.publish(), "forwarder")).refusals
            assert refusal.reason is Reason.BEACON
