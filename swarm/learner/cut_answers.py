"""Notices that most answers of a round were cut at the cap of tokens: nothing can be learned then
but to be shorter, and the owner can mend it."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.records import ScoredGroup

MOST = 0.5
# Said again only after a round with fewer cut ones than this.
FEW = 0.25


class CutAnswers:
    """The share of the newest round's own answers that were cut, None before the first."""

    def __init__(self) -> None:
        self.share: float | None = None
        self._said = False

    def observe(self, own: Sequence[ScoredGroup]) -> bool:
        """Look at a round's own groups. Returns whether it is time to say that most are cut."""
        answers = [completion for group in own for completion in group.completions]
        if not answers:
            return False
        self.share = sum(not each.finished for each in answers) / len(answers)
        news = self.share > MOST and not self._said
        self._said = news or (self._said and self.share >= FEW)
        return news
