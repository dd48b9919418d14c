"""A refusal for something in the message is confirmed offline; others cannot be checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from swarm_shapes import EPOCH, NOW_MS, RULES, Peer

from protocols.envelope import open_envelope
from protocols.messages import Proof
from protocols.reasons import Reason
from swarm.audit.audit_logs import Logs
from swarm.audit.findings import AuditCase, Report
from swarm.audit.groups import Groups
from swarm.audit.refusals import Refusals
from swarm.config.schema import PoolSection
from swarm.pool.store.damage import copied
from swarm.pool.store.store import Store
from swarm.pool.store.tables import StoredEnvelope
from swarm.records import Refusal


class Case:
    """A store with one refusal, and what the audit says of it."""

    def __init__(self, path: Path) -> None:
        self.pool = path / "pool.sqlite"
        self.store = Store(self.pool, PoolSection(max_groups=99, max_bytes=2**20, groups_per_peer=99))
        self.peer = Peer()

    def hold(self, data: bytes) -> None:
        envelope = open_envelope(data, RULES.id)
        self.store.add_envelope(StoredEnvelope(envelope.id, envelope.key, envelope.sequence, NOW_MS, data))

    async def verdict(self, reason: str, data: bytes | None, item: int | None = None, own_key: bytes = bytes(32)) -> str:
        """ "confirmed", or what is wrong, or why it cannot be checked."""
        self.store.add_refusals(NOW_MS, [Refusal(self.peer.key, reason, b"", item, data)])
        self.store.close()
        report = Report("")
        with copied(self.pool) as copy:
            audited = AuditCase(copy, RULES, own_key, report)
            logs = Logs(audited)
            await Refusals(audited, logs, Groups(audited, logs, None)).check()
        tally = report.tallies["refusals"]
        assert tally.checked == 1
        return "confirmed" if tally.confirmed else (report.contradictions or list(tally.not_checkable))[0]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


async def test_a_hole_in_the_indices(case: Case) -> None:
    case.hold(case.peer.publish(case.peer.group(0)))
    hole = case.peer.seal(case.peer.share(case.peer.group(5), first_index=5)).to_bytes()
    assert await case.verdict(Reason.INDEX_GAP, hole) == "confirmed"


async def test_indices_used_before_the_one_before(case: Case) -> None:
    case.hold(case.peer.publish(case.peer.group(0), count=9))
    case.hold(case.peer.publish(case.peer.group(3), first_index=3, count=1))
    assert await case.verdict(Reason.INDEX_GAP, case.peer.seal(case.peer.share(case.peer.group(4))).to_bytes()) == "confirmed"


async def test_no_hole_at_all(case: Case) -> None:
    case.hold(case.peer.publish(case.peer.group(0)))
    following = case.peer.seal(case.peer.share(case.peer.group(1))).to_bytes()
    assert "joins all that its signer shared" in await case.verdict(Reason.INDEX_GAP, following)


async def test_a_hole_after_what_is_not_held(case: Case) -> None:
    case.peer.publish()
    assert "not held" in await case.verdict(Reason.INDEX_GAP, case.peer.seal(case.peer.share()).to_bytes())


async def test_two_histories(case: Case) -> None:
    case.hold(case.peer.seal(case.peer.share(case.peer.group(0))).to_bytes())
    assert await case.verdict(Reason.EQUIVOCATION, case.peer.seal(case.peer.share(case.peer.group(1))).to_bytes()) == "confirmed"


async def test_a_broken_chain(case: Case) -> None:
    case.hold(case.peer.publish())
    broken = case.peer.seal(case.peer.share(), previous=b"?" * 32).to_bytes()
    assert await case.verdict(Reason.CHAIN, broken) == "confirmed"


@pytest.mark.parametrize(
    ("reason", "changes", "true"),
    [
        (Reason.EPOCH, {"epoch": EPOCH + 3}, True),
        (Reason.EPOCH, {}, False),
        (Reason.STALE, {"epoch": EPOCH - 3}, True),
        (Reason.STALE, {}, False),
        (Reason.INDEX, {"count": RULES.tasks_per_epoch + 1}, True),
        (Reason.INDEX, {}, False),
        (Reason.GROUP_COUNT, {}, False),
        (Reason.PROPOSER, {}, False),
        (Reason.OWN_KEY, {}, False),
        (Reason.FUTURE, {}, False),
        (Reason.MALFORMED, {}, False),
    ],
)
async def test_reasons_in_a_share(case: Case, reason: Reason, changes: dict[str, int], true: bool) -> None:
    group = case.peer.group(0, epoch=changes.get("epoch", EPOCH))
    data = case.peer.seal(case.peer.share(group, **changes)).to_bytes()
    said = await case.verdict(reason, data)
    assert (said == "confirmed") == true, said
    assert true or said.startswith("refusals: number 1")


async def test_reasons_that_are_true(case: Case) -> None:
    many = [case.peer.group(index) for index in range(RULES.max_groups_per_share + 1)]
    assert await case.verdict(Reason.GROUP_COUNT, case.peer.seal(case.peer.share(*many)).to_bytes()) == "confirmed"


async def test_somebody_elses_tasks(case: Case) -> None:
    foreign = case.peer.group(0, proposer=b"p" * 32)
    assert await case.verdict(Reason.PROPOSER, case.peer.seal(case.peer.share(foreign)).to_bytes()) == "confirmed"


async def test_the_own_key(case: Case) -> None:
    data = case.peer.seal(case.peer.share()).to_bytes()
    assert await case.verdict(Reason.OWN_KEY, data, own_key=case.peer.key) == "confirmed"


async def test_a_false_proof(case: Case) -> None:
    assert await case.verdict(Reason.FALSE_PROOF, case.peer.seal(Proof(b"one", b"other")).to_bytes()) == "confirmed"


@pytest.mark.parametrize(
    ("reason", "changes", "said"),
    [
        (Reason.UNKNOWN_ENVIRONMENT, {"environment": "toy/none"}, "confirmed"),
        (Reason.PARAMETER, {"parameters": (("level", 9),)}, "confirmed"),
        (Reason.RENDERING, {"rendering": "prose"}, "confirmed"),
        (Reason.RENDERING, {}, "allowed by the manifest"),
        (Reason.PARAMETER, {"rendering": "prose"}, "is rendering by the manifest"),
        (Reason.REWARD, {}, "verifiers were left out"),
        (Reason.VERIFIER_TIMEOUT, {}, "depends on what the node knew"),
    ],
)
async def test_reasons_in_a_group(case: Case, reason: Reason, changes: dict[str, object], said: str) -> None:
    data = case.peer.seal(case.peer.share(case.peer.group(0, **changes))).to_bytes()
    assert said in await case.verdict(reason, data, item=0)


async def test_a_group_that_is_not_there(case: Case) -> None:
    data = case.peer.seal(case.peer.share(case.peer.group(0))).to_bytes()
    assert "does not carry" in await case.verdict(Reason.REWARD, data, item=7)


@pytest.mark.parametrize("reason", [Reason.QUEUE_FULL, Reason.STANDING, "a-reason-of-tomorrow", Reason.SCHEMA])
async def test_what_leaves_nothing_to_look_at(case: Case, reason: str) -> None:
    said = await case.verdict(reason, None)
    assert "not held" in said or "not known to this version" in said
