"""The store inside the trio loop: SQLite runs in one thread, one piece of work at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trio

from swarm.clock import Clock
from swarm.config.schema import PoolSection
from swarm.pool.store.store import Store

T = TypeVar("T")


class Pool:
    """Use as an async context manager; `run` hands the store to a function in the pool's thread."""

    def __init__(self, path: Path, bounds: PoolSection, clock: Clock) -> None:
        self._path = path
        self._bounds = bounds
        self._clock = clock
        self._one = trio.CapacityLimiter(1)
        self._store: Store | None = None

    async def __aenter__(self) -> Self:
        self._store = await self._in_thread(lambda: Store(self._path, self._bounds))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with trio.CancelScope(shield=True):
            await self.run(Store.close)

    async def run(self, work: Callable[[Store], T]) -> T:
        """Run `work(store)`. Raises its errors, and `HomeError` when the file cannot be used."""
        store = self._store
        assert store is not None, "the pool is used before it was entered"  # noqa: S101
        return await self._in_thread(lambda: work(store))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._clock.work(0):
            return await trio.to_thread.run_sync(work, limiter=self._one)
