"""Whether the node's loop is on time: how late a timer in it fires is how late every ping, heartbeat and answer goes out.

Whatever holds the loop shows here: work in it that belongs into another process, and a machine whose other programs leave it
no CPU. The ticks keep to a schedule, so that a loop that stands still for a second is late twenty times, not once.
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
    """Of the last `ticks` ticks, those of a minute at most: how many milliseconds late half, 99 of 100, and all of them were."""

    ticks: int
    p50_ms: float
    p99_ms: float
    most_ms: float


class Punctuality:
    """How late this loop was in the last minute, while `watch` runs in it."""

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
            if late_s > WINDOW_S:  # a stopped process has no use for catching up on ticks that are out of the window
                due += late_s

    def statistics(self) -> PunctualityStatistics:
        """The last minute; all 0 before the first tick."""
        late_s = sorted(self._late_s) or [0.0]
        p50, p99, most = (round(1000 * late_s[int(share * (len(late_s) - 1))], 1) for share in (0.5, 0.99, 1.0))
        return PunctualityStatistics(len(self._late_s), p50, p99, most)
