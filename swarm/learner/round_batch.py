"""What one round trains on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from swarm.records import TrainingGroup, TrainReport


@dataclass(frozen=True, slots=True)
class RoundBatch:
    """One update's groups, `own` ones first; `signers` and `policy_ages` are of the others, `shares` is each signer's part of the
    whole weight."""

    groups: tuple[TrainingGroup, ...]
    own: int
    signers: tuple[bytes, ...]
    policy_ages: tuple[int, ...]
    shares: Mapping[bytes, float]

    def learned(self, report: TrainReport | None) -> dict[bytes, list[float]]:
        """For each foreign signer, what part of each of its groups was learned from: good enough, and plausible enough."""
        parts: dict[bytes, list[float]] = {}
        for signer, group, plausible in self._foreign(report):
            parts.setdefault(signer, []).append(plausible if any(group.weights) else 0.0)
        return parts

    def left_out(self, report: TrainReport | None) -> dict[bytes, int]:
        """For each foreign signer, how many of its groups were good enough and in nothing plausible enough."""
        return Counter(signer for signer, group, plausible in self._foreign(report) if any(group.weights) and not plausible)

    def _foreign(self, report: TrainReport | None) -> Iterator[tuple[bytes, TrainingGroup, float]]:
        if report is not None:
            yield from zip(self.signers, self.groups[self.own :], report.plausible[self.own :], strict=True)
