"""Check that refused messages deserve their reason, where it lies in a held message.

What depended on the moment (a full queue, a quota, the signer's standing) leaves nothing to look at
and is said to be so.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.envelope import Envelope, open_envelope
from protocols.manifest import epoch_of
from protocols.messages import Announce, Body, Proof, RolloutGroup, Share, check_share, unpack_body, unpack_share
from protocols.proof import check_proof
from protocols.reasons import ProtocolError, Reason
from swarm.audit.audit_logs import Logs
from swarm.audit.findings import AuditCase
from swarm.audit.groups import Groups, Unscored, group_in
from swarm.pool.admission.checks import agree, forbidden
from swarm.pool.admission.epochs import CLOCK_SKEW_MS, PAST_EPOCHS, taken

_IN_THE_BYTES = frozenset(
    {
        Reason.TOO_LARGE, Reason.VERSION, Reason.KIND, Reason.MALFORMED, Reason.NOT_CANONICAL, Reason.SCHEMA, Reason.SIGNATURE,
    }
)  # fmt: skip
_OF_THE_GROUP = frozenset(
    {
        Reason.UNKNOWN_ENVIRONMENT, Reason.ENVIRONMENT_VERSION, Reason.PARAMETER, Reason.INDEX, Reason.GROUP_SIZE,
        Reason.RENDERING, Reason.COMPLETION_LENGTH,
    }
)  # fmt: skip
_NOT_HELD = "the message is not held"
_MOMENT = "depends on what the node knew then"
_NEIGHBOUR = "what it contradicts is not held"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Confirmed, contradicted with what is wrong, or not checkable with why."""

    wrong: str | None = None
    unknown: str | None = None


_CONFIRMED = _Verdict()


@dataclass(frozen=True, slots=True)
class _Judged:
    """One row, and its message as far as it is held and opens."""

    received_ms: int
    reason: Reason
    item: int | None
    envelope: Envelope
    body: Body


class Refusals:
    """The refusals that a store still lists."""

    def __init__(self, case: AuditCase, logs: Logs, groups: Groups) -> None:
        self._copy = case.copy
        self._manifest = case.manifest
        self._own_key = case.own_key
        self._report = case.report
        self._logs = logs
        self._groups = groups

    async def check(self) -> None:
        """Check all of them."""
        columns = "number, received_ms, reason, envelope, item, evidence"
        for number, received_ms, reason, id_, item, evidence in self._copy.rows("refusals", columns, "ORDER BY number"):
            verdict = await self._judge(received_ms, reason, id_, item, evidence)
            if verdict.unknown is not None:
                self._report.leave("refusals", verdict.unknown)
            else:
                self._report.settle("refusals", verdict.wrong and f"number {number} ({reason}) {verdict.wrong}")

    async def _judge(self, received_ms: int, code: str, id: bytes, item: int | None, evidence: bytes | None) -> _Verdict:
        reason = next((each for each in Reason if each == code), None)
        if reason is None:
            return _Verdict(unknown=f"{code} is not known to this version")
        kept = self._copy.rows("envelopes", "envelope, body", "WHERE id = ?", (id,))
        data, body = next(kept, (evidence, None))
        if data is None:
            return _Verdict(unknown=_NOT_HELD)
        if reason in _IN_THE_BYTES:
            return self._unreadable(reason, data, body)
        try:
            envelope, unpacked = self._opened(data, body)
        except ProtocolError as error:
            return _Verdict(wrong=f"could not be judged so: {error}")
        refused = _Judged(received_ms, reason, item, envelope, unpacked)
        return self._envelope(refused) or self._share(refused) or await self._group(refused)

    def _opened(self, data: bytes, announced: bytes | None) -> tuple[Envelope, Body]:
        """An envelope and its body; the announced one where it is held. Raises ProtocolError."""
        envelope = open_envelope(data, self._manifest.id)
        body = unpack_body(envelope.kind, envelope.body)
        if isinstance(body, Announce) and announced is not None:
            body = unpack_share(announced)
        return envelope, body

    def _unreadable(self, reason: Reason, data: bytes, announced: bytes | None) -> _Verdict:
        """Bytes that were refused because they do not open."""
        try:
            _, body = self._opened(data, announced)
        except ProtocolError as error:
            return _CONFIRMED if error.reason is reason else _Verdict(wrong=f"is refused for another reason: {error.reason}")
        return _Verdict(unknown=_NOT_HELD) if isinstance(body, Announce) else _Verdict(wrong="opens without a fault")

    def _envelope(self, refused: _Judged) -> _Verdict | None:
        """Reasons that lie in the envelope and its place in the log."""
        envelope = refused.envelope
        match refused.reason:
            case Reason.OWN_KEY:
                return _said(envelope.key == self._own_key, "is not signed by this node's key")
            case Reason.FUTURE:
                return _said(envelope.time_ms > refused.received_ms + CLOCK_SKEW_MS, "does not lie in the future")
            case Reason.EQUIVOCATION:
                return self._contradicts_held(envelope)
            case Reason.CHAIN:
                return self._breaks_chain(envelope)
            case Reason.FALSE_PROOF:
                return self._proves_nothing(refused.body)
        return None

    def _proves_nothing(self, body: Body) -> _Verdict:
        if not isinstance(body, Proof):
            return _Verdict(wrong="is no proof")
        try:
            check_proof(body, self._manifest.id)
        except ProtocolError:
            return _CONFIRMED
        return _Verdict(wrong="is a proof that holds")

    def _contradicts_held(self, envelope: Envelope) -> _Verdict:
        rival = self._logs.at(envelope.key, envelope.sequence)
        if rival is not None and rival.envelope.id != envelope.id:
            return _CONFIRMED
        caught = any(True for _ in self._copy.rows("proofs", "signer", "WHERE signer = ?", (envelope.key,)))
        return _CONFIRMED if caught else _Verdict(unknown=_NEIGHBOUR)

    def _breaks_chain(self, envelope: Envelope) -> _Verdict:
        before = self._logs.at(envelope.key, envelope.sequence - 1)
        after = self._logs.at(envelope.key, envelope.sequence + 1)
        if before is None and after is None:
            return _Verdict(unknown=_NEIGHBOUR)
        fits_before = before is None or before.envelope.id == envelope.previous
        fits_after = after is None or after.envelope.previous == envelope.id
        if fits_before and fits_after:
            # What it contradicted may have been trimmed away, and the other neighbour be there.
            return _Verdict(wrong="fits its neighbours") if before and after else _Verdict(unknown=_NEIGHBOUR)
        return _CONFIRMED

    def _share(self, refused: _Judged) -> _Verdict | None:
        """Reasons that lie in a share as a whole."""
        share, rules, received_ms = refused.body, self._manifest, refused.received_ms
        if refused.item is not None:
            return None
        if isinstance(share, Announce):
            # The body of an old announcement is not fetched.
            epoch = epoch_of(rules, refused.envelope.time_ms)
            old = refused.reason is Reason.STALE and epoch < taken(rules, received_ms).start
            return _CONFIRMED if old else _Verdict(unknown=_NOT_HELD)
        if not isinstance(share, Share):
            return _Verdict(unknown=_MOMENT)
        match refused.reason:
            case Reason.PROPOSER:
                try:
                    check_share(share, refused.envelope.key)
                except ProtocolError:
                    return _CONFIRMED
                return _Verdict(wrong="holds only what its signer proposed")
            case Reason.EPOCH:
                return _said(share.epoch >= taken(rules, received_ms).stop, "is not of a later epoch")
            case Reason.STALE:
                return _said(share.epoch < taken(rules, received_ms).start, "is not too old")
            case Reason.INDEX:
                return _said(share.first_index + share.count > rules.tasks_per_epoch, "stays within the manifest's cap")
            case Reason.GROUP_COUNT:
                return _said(len(share.groups) > rules.max_groups_per_share, "has no more groups than allowed")
            case Reason.INDEX_GAP:
                return self._leaves_gap(refused.envelope, share)
        return _Verdict(unknown=_MOMENT)

    def _leaves_gap(self, envelope: Envelope, share: Share) -> _Verdict:
        """Whether a share leaves a hole behind the one before, or uses indices again."""
        for sequence in range(envelope.sequence - 1, -1, -1):
            before = self._logs.at(envelope.key, sequence)
            if before is None or before.share is None:
                return _Verdict(unknown=_NEIGHBOUR)
            end = before.share.first_index + before.share.count if before.share.epoch == share.epoch else 0
            hole = sequence == envelope.sequence - 1 and share.first_index != end
            if hole or share.first_index < end or share.epoch < before.share.epoch:
                return _CONFIRMED
            if before.share.epoch < share.epoch - PAST_EPOCHS:
                break
        return _Verdict(wrong="joins all that its signer shared before")

    async def _group(self, refused: _Judged) -> _Verdict:
        """Reasons that lie in one group."""
        if not isinstance(refused.body, Share):
            return _Verdict(unknown=_NOT_HELD)
        group = group_in(refused.body, refused.item or 0)
        if group is None:
            return _Verdict(wrong=f"names the task {refused.item}, which its envelope does not carry")
        if refused.reason in _OF_THE_GROUP:
            actual = forbidden(self._manifest, group)
            return _CONFIRMED if actual is refused.reason else _Verdict(wrong=f"is {actual or 'allowed'} by the manifest")
        if refused.reason in {Reason.REWARD, Reason.VERIFIER_FAILED}:
            return await self._scored(refused.reason, group)
        return _Verdict(unknown=_MOMENT)

    async def _scored(self, reason: Reason, group: RolloutGroup) -> _Verdict:
        scored = await self._groups.score(group)
        if isinstance(scored, Unscored):
            confirmed = scored.failed and reason is Reason.VERIFIER_FAILED
            return _CONFIRMED if confirmed else _Verdict(unknown=scored.why)
        if reason is Reason.VERIFIER_FAILED:
            return _Verdict(unknown="the verifier does not fail now")
        return _said(not agree(group.rewards, scored.rewards), "claims what the verifier gives")


def _said(true: bool, otherwise: str) -> _Verdict:
    return _CONFIRMED if true else _Verdict(wrong=otherwise)
