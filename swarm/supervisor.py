"""Keeps the parts of a node running: logs any exception of a part and starts it again.

A fault that only the owner can mend (a full disk, a wrong setting, a damaged key) is not tried
again. Its error goes up and ends the node with its one sentence and exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from swarm.errors import ConfigError, HomeError, IdentityError, PolicyError, SwarmdError, unwrapped

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
# After running this long a part is not failing at once: its next pause is short again.
HEALTHY_S = 120.0

FATAL: tuple[type[SwarmdError], ...] = (HomeError, ConfigError, IdentityError, PolicyError)


async def supervise(
    part: str,
    run: Callable[[], Awaitable[None]],
    on_failure: Callable[[str, str], None],
    *,
    begun_once: Callable[[], bool] = lambda: True,
) -> None:
    """Run a part until it returns; after a failure call `on_failure(part, error)`, wait, run again.

    Raises errors of `FATAL` kinds. Before `begun_once` is true it raises any error: whoever starts
    the node wants to know that a part cannot begin at all.
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
            logger.exception("%s failed; it starts again in %.1f s", part, pause)
            on_failure(part, _summary(error))
        if trio.current_time() - begun > HEALTHY_S:
            pause = FIRST_PAUSE_S
        await trio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def find(error: BaseException, kinds: tuple[type[SwarmdError], ...]) -> SwarmdError | None:
    """Return the first exception of these kinds in `error` or its nested groups, or None."""
    if isinstance(error, kinds):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := find(each, kinds)) is not None), None)
    return None


def _summary(error: BaseException) -> str:
    error = unwrapped(error)
    return f"{type(error).__name__}: {error}"
