"""Peer scores: this node's own experience with each signer. No peer's opinion is asked for or
taken.

Two quantities per signer, both fading with time, decide how much a signer may move this node's
policy.

*Points* are held against it. A failed check that an honest node cannot fail costs one point and
half the credit. At `LIMIT` points a signer is not listened to until enough has faded. Being newer,
slower or late costs nothing.

*Credit* is earned by teaching: minutes of training, its share of every batch times the time the
batch stood for. So a node gives at most one minute of credit per minute, however fast its rounds
are and however many identities send.

*Established* are the signers who together hold all but the last tenth (`defences.newcomer_share`)
of the credit of all that are heard, each with at least a quarter of their average. Everybody else
gets at most that tenth of a batch together (`swarm.pool.sampling.signer_quotas`). The measure is
relative, so it works among eight peers and among a thousand, and numbers do not help: newcomers
earn together as much as one newcomer alone. With a share s and a memory of τ = half-life / ln 2
their part f of the credit follows df/dt = s (1 - f) / τ: with a tenth and six hours about 1.1 % an
hour. None of them leaves the last tenth before f has grown to it, after nine hours of being useful
without a break; `benchmarks/newcomers.py` sees none of them do so in twelve.

A young node is defenceless here. Before it has learned `YOUNG_MINUTES` from at least `FEW` signers
it has nothing to compare with, and a cap would only slow down an honest swarm. Whoever floods it in
these first minutes with many identities becomes its memory. Four defences remain: the verifier, the
share of one signer in a batch, the screens against implausible text, and the regression guard,
whose `helped` takes credit back from signers whose groups made the node worse.

Who is gone holds no place. Only signers that are still heard are ranked, since others would
otherwise hold newcomers to a tenth for hours after they fell silent, by accident or by design. What
the gone have earned is remembered, and counts again as soon as they are heard. The price: a node
that hears only strangers for some minutes, cut off from all its old peers, is as young again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from protocols.reasons import Reason
from swarm.pool.standing.density import density_weight
from swarm.pool.standing.signer_record import CREDIT_HALF_LIFE_S, HALF_LIFE_S, Record
from swarm.pool.standing.worth import worth_weight

LIMIT = 3.0
MOST_POINTS = 12.0
# A flood is no accident: it is cut off at once.
FLOOD_POINTS = 2 * LIMIT
# Signers remembered; the least known are forgotten first, so that a crowd of fresh identities
# displaces its own.
MAX_SIGNERS = 10_000
# Signers remembered to have signed two histories; beyond that the one caught first is forgotten.
MAX_CONVICTED = 100_000
# A batch after a long pause stands for at most this much of it.
LONGEST_BATCH_S = 300.0
YOUNG_MINUTES = 15.0
FEW = 3
OF_AVERAGE = 0.25
# A change of held-out reward that doubles the credit of its window, or takes it back.
HELP_SCALE = 0.2
MOST_HARM = 4.0
HARM = "harm"
HARM_POINTS = 2.0
_ALL: Mapping[bytes, Sequence[float]] = {}

# Reasons that only a broken or dishonest signer gives; all others can happen to an honest one.
BLAMED = frozenset(
    {
        Reason.EQUIVOCATION,
        Reason.FALSE_PROOF,
        Reason.CHAIN,
        Reason.INDEX,
        Reason.INDEX_GAP,
        Reason.PROPOSER,
        Reason.GROUP_COUNT,
        Reason.GROUP_SIZE,
        Reason.COMPLETION_LENGTH,
        Reason.BODY_MISMATCH,
        Reason.REWARD,
    }
)
# A recipe may keep a verifier too long by bad luck; twice within minutes is the signer's choice.
BLAMED_IF_REPEATED = frozenset({Reason.VERIFIER_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Description:
    """One signer, as the operator sees it: `credit` in minutes of training, `weight` (0 to 1) in a
    draw."""

    standing: str
    weight: float
    credit: float
    points: float
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class PeerScoreStatistics:
    """Signers known, with any points, not listened to now, and established; `credit` is the sum of
    all, in minutes."""

    known: int
    marked: int
    silenced: int
    established: int
    credit: float


class PeerScores:
    """The scores per signer (32-byte public key). `newcomer_share` is the part of the credit, and
    of a batch, left to the least known."""

    def __init__(self, newcomer_share: float = 0.1) -> None:
        self._newcomer_share = newcomer_share
        self._records: dict[bytes, Record] = {}
        self._changed: dict[bytes, None] = {}
        self._convicted: dict[bytes, None] = {}
        self._trained_ms: int | None = None
        self._established: frozenset[bytes] = frozenset()
        self._ranked_ms: int | None = None
        self._listening_ms: int | None = None

    # Questions about a signer

    def points(self, signer: bytes, now_ms: int) -> float:
        """Return the points left of the blame on the signer."""
        record = self._records.get(signer)
        return record.points * math.exp2(-max(now_ms - record.updated_ms, 0) / 1000 / HALF_LIFE_S) if record else 0.0

    def credit(self, signer: bytes, now_ms: int) -> float:
        """Return the signer's remaining credit, in minutes of training."""
        record = self._records.get(signer)
        return record.credit * math.exp2(-max(now_ms - record.updated_ms, 0) / 1000 / CREDIT_HALF_LIFE_S) if record else 0.0

    def good(self, signer: bytes, now_ms: int) -> bool:
        """Return whether the signer is listened to."""
        return signer not in self._convicted and not self.silenced(signer, now_ms)

    def silenced(self, signer: bytes, now_ms: int) -> bool:
        """Return whether the signer has `LIMIT` points. The convicted are refused whatever their
        points."""
        return self.points(signer, now_ms) >= LIMIT

    def established(self, signer: bytes, now_ms: int) -> bool:
        """Return whether the signer is established; nobody is while this node is young."""
        return signer in self.established_signers(now_ms)

    def established_signers(self, now_ms: int) -> frozenset[bytes]:
        """Return the established signers; empty while there is nobody to compare newcomers with."""
        # All credit fades at one rate: only new credit changes the order. A minute is soon enough.
        if self._ranked_ms is None or not 0 <= now_ms - self._ranked_ms < 60_000:
            self._rank(now_ms)
        return self._established

    def weight(self, signer: bytes, now_ms: int) -> float:
        """Return the weight of the signer's groups in a draw, from 0 (not listened to) to 1."""
        if not self.good(signer, now_ms):
            return 0.0
        record = self._records.get(signer, Record(now_ms))
        fair = density_weight(record.used, record.shared) * worth_weight(record.drawn, record.learned)
        return fair * math.exp2(-self.points(signer, now_ms))

    def present(self, now_ms: int) -> int:
        """Return the number of signers that are not gone."""
        return sum(record.present(now_ms, self._listening_ms or 0) for record in self._records.values())

    def gone(self, signer: bytes, now_ms: int) -> bool:
        """Return whether the signer was heard, and is not any more."""
        record = self._records.get(signer)
        return record is not None and not record.present(now_ms, self._listening_ms or 0)

    def _listens(self, now_ms: int) -> None:
        if self._listening_ms is None:
            self._listening_ms = now_ms

    def describe(self, signer: bytes, now_ms: int) -> Description:
        """Return a signer's part of `swarmd peers`."""
        record = self._records.get(signer)
        if signer in self._convicted:
            standing = "convicted"
        elif record is None:
            standing = "unknown"
        elif self.silenced(signer, now_ms):
            standing = "silenced"
        else:
            standing = "established" if self.established(signer, now_ms) else "new"
        weight, credit, points = (round(ask(signer, now_ms), 3) for ask in (self.weight, self.credit, self.points))
        return Description(standing, weight, credit, points, record.reasons if record else {})

    def notable(self, most: int, now_ms: int) -> tuple[bytes, ...]:
        """Return up to `most` signers with credit or points, or convicted; those with the most come
        first."""
        weighed = {signer: self._weighs(signer, now_ms) for signer in {**self._records, **self._convicted}}
        told = (signer for signer in weighed if weighed[signer] > 0 or signer in self._convicted)
        return tuple(sorted(told, key=lambda each: (-weighed[each], each))[:most])

    def _weighs(self, signer: bytes, now_ms: int) -> float:
        return self.credit(signer, now_ms) + self.points(signer, now_ms)

    # This node's experience

    def refused(self, signer: bytes, reason: Reason, now_ms: int) -> None:
        """Note a refusal; it costs points only if an honest signer cannot cause it."""
        if reason not in BLAMED and reason not in BLAMED_IF_REPEATED:
            return
        record = self._touched(signer, now_ms)
        if reason in BLAMED_IF_REPEATED:
            record.strikes += 1
            if record.strikes < 1.5:
                return
        self._blame(signer, reason, 1.0)

    def convict(self, signers: Iterable[bytes]) -> None:
        """Refuse these signers for good: they signed two histories
        (`swarm.pool.store.proof_table`)."""
        for signer in signers:
            self._convicted[signer] = None
            if len(self._convicted) > MAX_CONVICTED:
                del self._convicted[next(iter(self._convicted))]
            if signer in self._established:
                self._ranked_ms = None

    def flooded(self, signer: bytes, now_ms: int) -> None:
        """Cut the signer off at once: it sent many times its budget."""
        self._touched(signer, now_ms)
        self._blame(signer, Reason.QUOTA, FLOOD_POINTS)

    def proposed(self, signer: bytes, indices: int, groups: int, now_ms: int) -> None:
        """Note a share: the indices it accounted for, and the groups it carried."""
        record = self._touched(signer, now_ms)
        record.hear(now_ms)
        record.used += indices
        record.shared += groups

    def trained(self, shares: Mapping[bytes, float], now_ms: int, learned: Mapping[bytes, Sequence[float]] = _ALL) -> None:
        """Credit the signers of one update. `shares` are their parts of its whole weight, to which
        own groups belong too.

        `learned` gives, for each of a signer's groups, the part that was learned from (all of it
        where missing).
        """
        before_ms, self._trained_ms = self._trained_ms, now_ms
        minutes = min(max(now_ms - before_ms, 0) / 1000, LONGEST_BATCH_S) / 60 if before_ms is not None else 0.0
        for signer, share in shares.items():
            record = self._touched(signer, now_ms)
            parts = learned.get(signer, (1.0,))
            taught = share * minutes * sum(parts) / len(parts)
            record.credit += taught
            record.window += taught
            record.drawn += len(parts)
            record.learned += sum(parts)
            record.judge_lately()
        self._ranked_ms = None

    def helped(self, signer: bytes, change: float, now_ms: int) -> None:
        """Credit a signer for the change (-1 to 1) in held-out reward since the last call, in which
        it had a part: in proportion to what it earned meanwhile, for all signers alike.

        A gain at most doubles the signer's credit of that window, so that luck cannot outrun the
        bound on newcomers. A loss takes up to several times as much away.
        """
        record = self._touched(signer, now_ms)
        effect = max(min(change / HELP_SCALE, 1.0), -MOST_HARM)
        record.credit = max(record.credit + record.window * effect, 0.0)
        record.window = 0.0
        self._ranked_ms = None

    def harmed(self, signer: bytes, now_ms: int) -> None:
        """Blame the signer: losses of held-out reward go with its part in the training."""
        self._touched(signer, now_ms)
        self._blame(signer, HARM, HARM_POINTS)
        self._ranked_ms = None

    def _blame(self, signer: bytes, reason: str, points: float) -> None:
        record = self._records[signer]
        record.points = min(record.points + points, MOST_POINTS)
        record.credit /= 2
        record.reasons[reason] = record.reasons.get(reason, 0) + 1
        # Ranking everybody takes a while, and failing strangers must not cause it.
        if signer in self._established:
            self._ranked_ms = None

    def _touched(self, signer: bytes, now_ms: int) -> Record:
        self._listens(now_ms)
        record = self._records.get(signer)
        if record is None:
            record = self._records[signer] = Record(now_ms)
            if len(self._records) > MAX_SIGNERS:
                self._forget(now_ms, keep=signer)
        record.fade(now_ms)
        self._changed[signer] = None
        return record

    def _forget(self, now_ms: int, keep: bytes) -> None:
        """Drop the tenth that matters least: neither credit to lose nor points to work off."""

        def matters(signer: bytes) -> tuple[float, int]:
            return self._weighs(signer, now_ms), self._records[signer].updated_ms

        for signer in sorted(self._records, key=matters)[: MAX_SIGNERS // 10]:
            if signer != keep:
                del self._records[signer]
                self._changed[signer] = None

    def _rank(self, now_ms: int) -> None:
        self._ranked_ms = now_ms
        self._listens(now_ms)
        here = (
            signer
            for signer, record in self._records.items()
            if record.credit > 0 and record.present(now_ms, self._listening_ms or 0)
        )
        held = [(self.credit(signer, now_ms), signer) for signer in here]
        # Equal credit is ordered by key, so that every run of one seed agrees.
        held = sorted((each for each in held if self.good(each[1], now_ms)), reverse=True)
        top: list[tuple[float, bytes]] = []
        whole, sum_ = sum(credit for credit, _ in held), 0.0
        for credit, signer in held:
            if sum_ >= (1 - self._newcomer_share) * whole:
                break
            sum_ += credit
            top.append((credit, signer))
        # A crowd may together hold more than the last tenth; each of them alone is still nobody.
        bar = OF_AVERAGE * sum_ / len(top) if top else 0.0
        established = frozenset(signer for credit, signer in top if credit >= bar)
        self._established = established if whole >= YOUNG_MINUTES and len(established) >= FEW else frozenset()

    # Across a restart

    def restore(self, records: Iterable[tuple[bytes, Mapping[str, Any]]]) -> None:
        """Restore the records that `take_changed` gave before the restart."""
        self._records = {signer: Record(**record) for signer, record in records}
        self._ranked_ms = None

    def take_changed(self, most: int) -> list[tuple[bytes, dict[str, Any] | None]]:
        """Return up to `most` signers with a record to write, None in place of a forgotten one.

        The rest waits for the next call.
        """
        # All of the forgotten: a crowd that displaces itself must not leave a growing backlog.
        taken = [
            *islice(self._changed, most),
            *(signer for signer in islice(self._changed, most, None) if signer not in self._records),
        ]
        for signer in taken:
            del self._changed[signer]
        return [(signer, asdict(self._records[signer]) if signer in self._records else None) for signer in taken]

    def statistics(self, now_ms: int) -> PeerScoreStatistics:
        """Return the counts at this time."""
        return PeerScoreStatistics(
            known=len(self._records),
            marked=sum(record.points > 0 for record in self._records.values()),
            silenced=sum(not self.good(signer, now_ms) for signer in self._records),
            established=len(self.established_signers(now_ms)),
            credit=round(sum(self.credit(signer, now_ms) for signer in self._records), 3),
        )
