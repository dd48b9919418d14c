"""Keeps a fault in one of py-libp2p's background tasks from ending the node.

py-libp2p stops a whole service (all connections, or all of gossip) when any of its tasks raises an
unexpected exception. A peer can cause that with a few odd bytes. Here such a task ends alone,
logged and counted. Without a service's own main loops the host is a shell, so the end of one is
raised as a `NetworkError`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.tools.anyio_service.trio_manager import TrioManager

from swarm.errors import NetworkError
from swarm.net.tally import Tally

logger = logging.getLogger(__name__)

Task = Callable[..., Awaitable[Any]]


def isolated(task: Task, tally: Tally) -> Task:
    """Return `task` with its exceptions logged and counted instead of raised."""

    async def run(*arguments: Any) -> None:
        try:
            await task(*arguments)
        except Exception as error:
            tally["faults"] += 1
            logger.warning("a network task failed: %s", getattr(task, "__qualname__", task), exc_info=error)

    return run


class IsolatingManager(TrioManager):  # type: ignore[misc]
    """Runs one of py-libp2p's services, with all tasks but the main loops isolated."""

    def __init__(self, service: Any, tally: Tally) -> None:
        super().__init__(service)
        self._tally = tally
        service._manager = self

    def run_task(
        self, async_fn: Task, *args: Any, daemon: bool = False, name: str | None = None, _internal: bool = False
    ) -> None:
        """Start a background task of the service."""
        if not daemon and not _internal:
            async_fn = isolated(async_fn, self._tally)
        super().run_task(async_fn, *args, daemon=daemon, name=name, _internal=_internal)

    async def start_in(self, nursery: trio.Nursery) -> None:
        """Run the service in `nursery`; an end without `stop` raises a `NetworkError` there."""
        nursery.start_soon(self._watch)
        await self.wait_started()

    async def _watch(self) -> None:
        name = type(self._service).__name__
        try:
            await self.run()
        except Exception as error:
            raise NetworkError(f"the libp2p {name} stopped: {error!r}; the network must be opened again") from error
        if not self._stopping:
            raise NetworkError(f"the libp2p {name} ended by itself; the network must be opened again")

    _stopping = False

    async def stop(self) -> None:
        """End the service and wait for its end."""
        self._stopping = True
        await super().stop()
