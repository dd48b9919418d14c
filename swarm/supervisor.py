"""Keeps the parts of a node running. The only place that catches every exception: it logs the traceback and begins again.

A part that fails because of something only its owner can mend (a full disk, a wrong setting, a damaged key) is not begun
again: the error goes up and ends the node with its one sentence and exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from swarm.errors import ConfigError, HomeError, IdentityError, PolicyError, SwarmdError

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
# A part that ran this long before it failed is not failing at once, so the pause begins short again.
HEALTHY_S = 120.0

FATAL: tuple[type[SwarmdError], ...] = (HomeError, ConfigError, IdentityError, PolicyError)


async def supervise(
    part: str,
    run: Callable[[], Awaitable[None]],
    on_failure: Callable[[str, str], None],
    *,
    begun_once: Callable[[], bool] = lambda: True,
) -> None:
    """Run a part until it returns; after a failure, tell `on_failure(part, error)`, wait, and run it again.

    A failure before `begun_once` goes up: whoever starts the node wants to know that a part cannot begin at all.
    """
    pause = FIRST_PAUSE_S
    while True:
        begun = trio.current_time()
        try:
            await run()
            return
        except Exception as error:
            fatal = find(error, FATAL)
            if fatal is not None:
                raise fatal from error
            if not begun_once():
                raise
            logger.exception("%s failed and begins again in %.1f s", part, pause)
            on_failure(part, _summary(error))
        if trio.current_time() - begun > HEALTHY_S:
            pause = FIRST_PAUSE_S
        await trio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def find(error: BaseException, kinds: tuple[type[SwarmdError], ...]) -> SwarmdError | None:
    """The first exception of these kinds in an exception or, nested as trio raises them, exception group."""
    if isinstance(error, kinds):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := find(each, kinds)) is not None), None)
    return None


def _summary(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
