"""Time, as a node sees it: the wall clock in a daemon, a virtual clock in a reproducible simulation.

The difficulty is that a node's heavy work (a training step, a verifier) runs in other processes and takes *real* time,
while a reproducible simulation must not depend on real time at all. trio's autojump clock would leap ahead whenever the
loop is idle, including while it waits for a child process. So all real work goes through `Clock.work(cost)`: the virtual
clock stands still until the work is done and then advances by `cost`, a figure that depends on the work's size and never
on the machine. Whatever the machine's speed, events then happen in the same order at the same virtual times.

What is only done to measure a simulation happens outside its time: within `unseen()` work costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Protocol

import trio
from trio.testing import MockClock

_UNSEEN: ContextVar[bool] = ContextVar("unseen", default=False)


@contextmanager
def unseen() -> Iterator[None]:
    """What this task does within takes no virtual time; a wall clock knows no such thing."""
    token = _UNSEEN.set(True)
    try:
        yield
    finally:
        _UNSEEN.reset(token)


class Clock(Protocol):
    """What a node asks of time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""

    def work(self, cost: float) -> AbstractAsyncContextManager[None]:
        """Wrap a wait for real work outside the trio loop that is modelled as taking `cost` seconds."""

    def took(self, real_s: float, cost: float) -> float:
        """The seconds that work counts as which really took `real_s` and is modelled as taking `cost`."""


class WallClock:
    """Real time: work takes as long as it takes."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 by the system's clock."""
        return time.time_ns() // 1_000_000

    @asynccontextmanager
    async def work(self, cost: float) -> AsyncIterator[None]:
        """Nothing to model: the work's real duration is its cost."""
        yield

    def took(self, real_s: float, cost: float) -> float:
        """What it really took."""
        return real_s


class PacedClock:
    """Another clock, as a node has it that is `speed` times as fast: its work costs that much less. Only on virtual time."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed

    def now_ms(self) -> int:
        """Milliseconds since 1970, the same for everybody."""
        return self._clock.now_ms()

    def work(self, cost: float) -> AbstractAsyncContextManager[None]:
        """The same work in `cost / speed` seconds."""
        return self._clock.work(cost / self._speed)

    def took(self, real_s: float, cost: float) -> float:
        """As much as `work` takes."""
        return self._clock.took(real_s, cost / self._speed)


class VirtualClock:
    """Virtual time over trio's `MockClock`, which must be the clock of the `trio.run` that uses it."""

    def __init__(self, mock: MockClock, start_ms: int) -> None:
        self._mock = mock
        self._start_ms = start_ms
        self._outstanding = 0
        mock.autojump_threshold = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970, from `start_ms` on."""
        return self._start_ms + int(trio.current_time() * 1000)

    @asynccontextmanager
    async def work(self, cost: float) -> AsyncIterator[None]:
        """Hold virtual time while real work is outstanding anywhere, then charge its modelled cost."""
        self._outstanding += 1
        self._mock.autojump_threshold = float("inf")
        try:
            yield
        finally:
            self._outstanding -= 1
            if self._outstanding == 0:
                self._mock.autojump_threshold = 0
        await trio.sleep(self.took(0.0, cost))

    def took(self, real_s: float, cost: float) -> float:
        """What it is modelled as taking, whatever the machine."""
        return 0 if _UNSEEN.get() else cost
