"""A signer's numbers, and how they fade.

A signer is present while it is heard about as often as it used to be. A node of a slow model that
shares every ten minutes is not gone after five.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from swarm.pool.standing.worth import LATELY_DRAWN

HALF_LIFE_S = 600.0
CREDIT_HALF_LIFE_S = 6 * 3600.0
# A signer is gone once it was silent for this long, or for several times its usual silence where
# that is longer, and after an hour in any case: then nothing of it can be drawn any more.
SILENT_S = 180.0
SILENCES = 3.0
GONE_S = 3600.0
# Shares over which a signer's usual silence is averaged.
SHARES = 4


@dataclass(slots=True)
class Record:
    """One signer's numbers as of `updated_ms`: points and strikes, credit in minutes, indices used,
    groups shared, groups drawn, and the sum of their parts that were learned from.

    `window` is the part of the credit earned since the last call of `helped`. Its last share came
    at `heard_ms`, and `silence_s` is the usual time between two of them.
    """

    updated_ms: int
    points: float = 0.0
    strikes: float = 0.0
    credit: float = 0.0
    window: float = 0.0
    used: float = 0.0
    shared: float = 0.0
    drawn: float = 0.0
    learned: float = 0.0
    heard_ms: int = 0
    silence_s: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    def fade(self, now_ms: int) -> None:
        """Fade the numbers to now; a clock that was set back must not make old points grow."""
        seconds = max(now_ms - self.updated_ms, 0) / 1000
        points, credit = math.exp2(-seconds / HALF_LIFE_S), math.exp2(-seconds / CREDIT_HALF_LIFE_S)
        self.points, self.strikes = self.points * points, self.strikes * points
        self.credit, self.window = self.credit * credit, self.window * credit
        self.used, self.shared = self.used * credit, self.shared * credit
        self.drawn, self.learned = self.drawn * credit, self.learned * credit
        self.updated_ms = max(self.updated_ms, now_ms)

    def hear(self, now_ms: int) -> None:
        """Note a share that came now."""
        if self.heard_ms:
            self.silence_s += (max(now_ms - self.heard_ms, 0) / 1000 - self.silence_s) / SHARES
        self.heard_ms = now_ms

    def present(self, now_ms: int, listening_ms: int) -> bool:
        """Return whether the signer is still heard, by a node that has listened since then."""
        silent_s = (now_ms - max(self.heard_ms, listening_ms)) / 1000
        return silent_s <= min(max(SILENT_S, SILENCES * self.silence_s), GONE_S)

    def judge_lately(self) -> None:
        """Forget groups drawn long ago, which say little of what a signer sends now."""
        if self.drawn > LATELY_DRAWN:
            self.drawn, self.learned = LATELY_DRAWN, self.learned * LATELY_DRAWN / self.drawn
