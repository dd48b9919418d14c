"""Background tasks of a network: owned by its context, and out of the way of the errors that callers look for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """A nursery for tasks that end with the context; a single error leaves it as itself, not wrapped in a group.

    Without this, a `NetworkError` raised inside `async with open_libp2p(...)` would reach the caller as an ExceptionGroup.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        # The error keeps its own cause and context: the group adds nothing to them.
        raise error from error.__cause__
