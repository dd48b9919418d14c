"""Background tasks of a network, owned by its context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from swarm.errors import unwrapped


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks end with the context. A single error leaves it without a group.

    Otherwise a `NetworkError` raised inside `async with open_libp2p(...)` would reach the caller as
    an ExceptionGroup.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = unwrapped(group)
        # The error keeps its own cause and context: the group adds nothing to them.
        raise error from error.__cause__
