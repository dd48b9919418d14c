"""Where a node's time goes: its present activity, and the seconds of its last rounds."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import trio

# The activities in which the policy computes, by the loop's names.
COMPUTING = ("proposing", "generating", "training", "looking at held-out tasks")
# The number of "last rounds".
LAST = 20
# Weight of the newest round in the running mean of their seconds.
NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class _Round:
    took_s: float
    seconds: Mapping[str, float]
    busy_s: Mapping[str, float]


class Activity:
    """The node's `state`: its present activity and, while it waits, the reason."""

    def __init__(self) -> None:
        self.state = "starting"
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._now: dict[object, str] = {}
        self._computing = 0  # activities under way
        self._computing_since = self._computed_s = 0.0
        self._last: deque[_Round] = deque(maxlen=LAST)
        self._round_begun = trio.current_time()
        self.round_s = 1.0  # the running mean

    @contextmanager
    def doing(self, what: str, why: str = "") -> Iterator[None]:
        """Name the work inside; add its seconds to those of `what`."""
        this, computes, begun = object(), what in COMPUTING, trio.current_time()
        self._now[this] = f"{what}: {why}" if why else what
        self.state = ", ".join(self._now.values())
        self._count(computes)
        try:
            yield
        finally:
            self._seconds[what] += trio.current_time() - begun
            self._count(-computes)
            del self._now[this]
            # The last activity stays visible until the next one begins.
            self.state = ", ".join(self._now.values()) or self.state

    def _count(self, more: int) -> None:
        now = trio.current_time()
        if self._computing:
            self._computed_s += now - self._computing_since
        self._computing_since = now
        self._computing += more

    def computed_s(self) -> float:
        """Return the seconds the policy computed since `take_seconds`; parallel activities count
        once."""
        self._count(0)
        return self._computed_s

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds per activity since the last call."""
        taken = {what: round(seconds, 4) for what, seconds in self._seconds.items()}
        self._seconds.clear()
        self._count(0)
        self._computed_s = 0.0
        return taken

    def begin_round(self) -> None:
        """Count a round's seconds from now on, as after a pause."""
        self._round_begun = trio.current_time()

    def elapsed_s(self) -> float:
        """Return the seconds of the round so far."""
        return trio.current_time() - self._round_begun

    def end_round(self, seconds: Mapping[str, float], busy_s: Mapping[str, float]) -> float:
        """Note a round's seconds per activity and per process of the policy. Returns the seconds of
        the whole round."""
        took_s = self.elapsed_s()
        self.begin_round()
        self.round_s += NEWEST * (took_s - self.round_s)
        self._last.append(_Round(took_s, seconds, busy_s))
        return took_s

    def statistics(self) -> dict[str, Any]:
        """Return figures of the last rounds: their number, and the mean seconds per round and per
        activity.

        `busy` and `idle` are parts of the time, per process of the policy.
        """
        rounds = len(self._last)
        took_s = sum(each.took_s for each in self._last)
        activities, computed = _sum(each.seconds for each in self._last), _sum(each.busy_s for each in self._last)
        busy = {name: min(seconds / took_s, 1.0) for name, seconds in computed.items()} if took_s else {}
        return {
            "rounds": rounds,
            "round_s": round(took_s / rounds, 3) if rounds else None,
            "seconds": {what: round(seconds / rounds, 3) for what, seconds in activities.items()},
            "busy": {name: round(share, 3) for name, share in busy.items()},
            "idle": {name: round(1 - share, 3) for name, share in busy.items()},
        }


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in parts:
        total.update(each)
    return dict(total)
