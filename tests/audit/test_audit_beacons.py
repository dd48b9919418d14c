"""The audit of a swarm with a public beacon: its rounds are verified again, and give the seeds."""

from contextlib import closing
from pathlib import Path

import pytest
from drand_shapes import with_drand
from swarm_shapes import RULES

from protocols.drand import drand_beacon, randomness_of, round_of_epoch
from protocols.vectors.beacon_cases import TEST_CHAIN, sign_round
from swarm.audit.audit_logs import Logs
from swarm.audit.findings import AuditCase, Report
from swarm.config.schema import PoolSection
from swarm.pool.store import beacon_table
from swarm.pool.store.damage import copied
from swarm.pool.store.store import Store

DRAND = with_drand(RULES)
EPOCH = TEST_CHAIN.genesis_time // DRAND.epoch_seconds + 5
ROUND = round_of_epoch(TEST_CHAIN, DRAND.epoch_seconds, EPOCH)


@pytest.mark.parametrize(
    ("round", "signature", "wrong"),
    [
        (ROUND, sign_round(ROUND), None),
        (ROUND + 1, sign_round(ROUND + 1), "is not that of epoch"),
        (ROUND, sign_round(ROUND + 1), "the signature is not the chain's"),
        (ROUND, b"?", "signature of 48 bytes"),
    ],
)
def test_rounds_are_verified_again(tmp_path: Path, round: int, signature: bytes, wrong: str | None) -> None:
    pool = tmp_path / "pool.sqlite"
    with closing(Store(pool, PoolSection(max_groups=9, max_bytes=9, groups_per_peer=9))) as store:
        beacon_table.keep(store, EPOCH, round, signature)
    report = Report("")
    with copied(pool) as copy:
        logs = Logs(AuditCase(copy, DRAND, bytes(32), report))
        logs.check_beacons()
        if wrong is None:
            assert logs.beacon(EPOCH) == drand_beacon(DRAND.id, EPOCH, randomness_of(signature))
            assert report.tallies["beacons"].confirmed == 1
        assert logs.beacon(EPOCH + 1) is None
    assert [wrong in what for what in report.contradictions if wrong] == ([True] if wrong else [])
    assert report.clean == (wrong is None)
