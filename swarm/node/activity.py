"""What the node does now and where its time went, so that "is it working?" has an answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio


class Activity:
    """`state` says what is going on now and, where the node waits, why."""

    def __init__(self) -> None:
        self.state = "starting"
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def doing(self, what: str, why: str = "") -> Iterator[None]:
        """Name the work inside; its seconds are added up under `what`."""
        self.state = f"{what}: {why}" if why else what
        begun = trio.current_time()
        try:
            yield
        finally:
            self._seconds[what] += trio.current_time() - begun

    def spent(self, what: Sequence[str]) -> float:
        """Seconds of these activities since the last call of `take_seconds`."""
        return sum(self._seconds.get(each, 0.0) for each in what)

    def take_seconds(self) -> dict[str, float]:
        """Seconds per activity since the last call."""
        taken = {what: round(seconds, 4) for what, seconds in self._seconds.items()}
        self._seconds.clear()
        return taken
