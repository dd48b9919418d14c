"""The outcome of an audit: counts for each kind of thing, and every contradiction by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from protocols.manifest import Manifest
from swarm.pool.store.damage import DatabaseCopy


@dataclass
class AuditTally:
    """One kind of thing. `not_checkable` counts by reason why."""

    confirmed: int = 0
    contradicted: int = 0
    not_checkable: Counter[str] = field(default_factory=Counter)

    @property
    def checked(self) -> int:
        """How many were looked at."""
        return self.confirmed + self.contradicted + self.not_checkable.total()


@dataclass
class Report:
    """The outcome of an audit, filled as it goes.

    `contradictions` name file, row, signer or task and the fault.

    `trimmed` counts foreign groups whose envelope the pool has no room for any more; only task and
    rewards of those are checked.
    """

    home: str
    peer_id: str = ""
    swarm: str = ""
    tallies: dict[str, AuditTally] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trimmed: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is damaged and nothing contradicts anything else."""
        return not self.contradictions

    def confirm(self, kind: str, count: int = 1) -> None:
        """Count things of a kind that are as the records say."""
        self._tally(kind).confirmed += count

    def contradict(self, kind: str, what: str) -> None:
        """Something is not as the records say."""
        self._tally(kind).contradicted += 1
        self.contradictions.append(f"{kind}: {what}")

    def leave(self, kind: str, why: str) -> None:
        """Something cannot be checked offline."""
        self._tally(kind).not_checkable[why] += 1

    def settle(self, kind: str, wrong: str | None) -> None:
        """Confirm, or contradict with what is wrong."""
        if wrong is None:
            self.confirm(kind)
        else:
            self.contradict(kind, wrong)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "home": self.home,
            "peer_id": self.peer_id,
            "swarm": self.swarm,
            "clean": self.clean,
            "kinds": self.rows(),
            "not_checkable": {kind: dict(tally.not_checkable) for kind, tally in self.tallies.items() if tally.not_checkable},
            "contradictions": self.contradictions,
            "notes": self.notes,
        }

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row per kind."""
        return [
            {
                "kind": kind,
                "checked": tally.checked,
                "confirmed": tally.confirmed,
                "contradicted": tally.contradicted,
                "not_checkable": tally.not_checkable.total(),
            }
            for kind, tally in self.tallies.items()
        ]

    def _tally(self, kind: str) -> AuditTally:
        return self.tallies.setdefault(kind, AuditTally())


@dataclass(frozen=True, slots=True)
class AuditCase:
    """A pool's copy, the rules and key (32 bytes) to hold it against, and the report to fill."""

    copy: DatabaseCopy
    manifest: Manifest
    own_key: bytes
    report: Report
