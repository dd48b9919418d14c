"""The training batch of one round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from swarm.records import TrainingGroup, TrainReport


@dataclass(frozen=True, slots=True)
class RoundBatch:
    """One update's groups, `own` ones first. `signers` and `policy_ages` (updates) describe the
    foreign groups; `shares` is each signer's part of the whole weight."""

    groups: tuple[TrainingGroup, ...]
    own: int
    signers: tuple[bytes, ...]
    policy_ages: tuple[int, ...]
    shares: Mapping[bytes, float]

    def learned(self, report: TrainReport | None) -> dict[bytes, list[float]]:
        """Return per foreign signer the part of each of its groups that was learned from: 0 for a
        group without weight, else its plausible part."""
        parts: dict[bytes, list[float]] = {}
        for signer, group, plausible in self._foreign(report):
            parts.setdefault(signer, []).append(plausible if any(group.weights) else 0.0)
        return parts

    def left_out(self, report: TrainReport | None) -> dict[bytes, int]:
        """Return per foreign signer the number of groups with weight of which no token was
        plausible."""
        return Counter(signer for signer, group, plausible in self._foreign(report) if any(group.weights) and not plausible)

    def _foreign(self, report: TrainReport | None) -> Iterator[tuple[bytes, TrainingGroup, float]]:
        if report is not None:
            yield from zip(self.signers, self.groups[self.own :], report.plausible[self.own :], strict=True)
