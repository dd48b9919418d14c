"""Time as a node sees it: the wall clock in a daemon, a virtual clock in a simulation.

A node's heavy work (a training step, a verifier) runs in other processes and takes *real* time. A
reproducible simulation must not depend on real time. trio's autojump clock would leap ahead
whenever the loop is idle, including while it waits for a child process.

So all real work goes through `Clock.work(cost)`. The virtual clock stands still until the work is
done, then advances by `cost`, which depends on the work's size and never on the machine. Events
then happen in the same order at the same virtual times everywhere.

Measuring a simulation takes none of its time: within `unseen()` work costs nothing.
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
    """Charge no virtual time for this task's work in the context; wall clocks ignore it."""
    token = _UNSEEN.set(True)
    try:
        yield
    finally:
        _UNSEEN.reset(token)


class Clock(Protocol):
    """A node's clock."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970."""

    def work(self, cost: float) -> AbstractAsyncContextManager[None]:
        """Wrap a wait for real work outside the trio loop, modelled as `cost` seconds."""

    def took(self, real_s: float, cost: float) -> float:
        """Return the seconds to count for work of `real_s` real and `cost` modelled seconds."""


class WallClock:
    """Real time."""

    def now_ms(self) -> int:
        """Return the milliseconds since 1970 by the system's clock."""
        return time.time_ns() // 1_000_000

    @asynccontextmanager
    async def work(self, cost: float) -> AsyncIterator[None]:
        """Do nothing: the work's real duration is its cost."""
        yield

    def took(self, real_s: float, cost: float) -> float:
        """Return `real_s`."""
        return real_s


class PacedClock:
    """The virtual clock of a node that is `speed` times as fast, whose work costs less by that."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed

    def now_ms(self) -> int:
        """Return the milliseconds since 1970, the same for every node."""
        return self._clock.now_ms()

    def work(self, cost: float) -> AbstractAsyncContextManager[None]:
        """Wrap work modelled as `cost / speed` seconds."""
        return self._clock.work(cost / self._speed)

    def took(self, real_s: float, cost: float) -> float:
        """Return the seconds that `work` charges."""
        return self._clock.took(real_s, cost / self._speed)


class VirtualClock:
    """Virtual time over trio's `MockClock`, which must be the clock of the `trio.run` around it."""

    def __init__(self, mock: MockClock, start_ms: int) -> None:
        self._mock = mock
        self._start_ms = start_ms
        self._outstanding = 0
        mock.autojump_threshold = 0

    def now_ms(self) -> int:
        """Return the milliseconds since 1970; the run began at `start_ms`."""
        return self._start_ms + int(trio.current_time() * 1000)

    @asynccontextmanager
    async def work(self, cost: float) -> AsyncIterator[None]:
        """Hold virtual time while any real work is outstanding, then charge `cost` seconds."""
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
        """Return `cost`, whatever the machine; 0 within `unseen`."""
        return 0 if _UNSEEN.get() else cost
