"""How late the node's loop is: a timer that fires late in it delays every ping, heartbeat and
answer.

Whatever holds the loop shows here: work that belongs in another process, or other programs that
leave it no CPU. The ticks keep to a schedule, so a loop that stands still for a second is late
twenty times, not once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NoReturn

import trio

EVERY_S = 0.05
WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class PunctualityStatistics:
    """Lateness of the last `ticks` ticks, at most a minute's: median, 99th percentile and maximum
    (ms)."""

    ticks: int
    p50_ms: float
    p99_ms: float
    most_ms: float


class Punctuality:
    """The lateness of this loop in the last minute, while `watch` runs in it."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=round(WINDOW_S / EVERY_S))

    async def watch(self) -> NoReturn:
        """Tick until cancelled."""
        due = trio.current_time()
        while True:
            due += EVERY_S
            await trio.sleep_until(due)
            late_s = trio.current_time() - due
            self._late_s.append(late_s)
            if late_s > WINDOW_S:  # a stopped process skips the ticks that lie outside the window
                due += late_s

    def statistics(self) -> PunctualityStatistics:
        """Return the last minute's figures; all 0 before the first tick."""
        late_s = sorted(self._late_s) or [0.0]
        p50, p99, most = (round(1000 * late_s[int(share * (len(late_s) - 1))], 1) for share in (0.5, 0.99, 1.0))
        return PunctualityStatistics(len(self._late_s), p50, p99, most)
