"""Turns at the policy's device, for rounds that overlap (ahead.py).

Choosing a round's tasks and answering them is one turn, training another. So all completions of a
round come from one version of the weights, and an activity's seconds are work, not waiting.
Policies on two devices need no turns. Neither does strict order, where a lock would only let other
tasks go first.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import trio

from swarm.config.schema import Config

Turn = AbstractAsyncContextManager[Any]


@dataclass(frozen=True, slots=True)
class DeviceTurns:
    """Two context managers, entered for the time of the work. While `generating` is held, no
    generation is under way elsewhere."""

    generating: Turn
    training: Turn

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the turns that a node's settings call for."""
        if not config.training.max_versions_behind:
            return cls(nullcontext(), nullcontext())
        generating = trio.Lock()
        return cls(generating, trio.Lock() if config.policy.generation_device else generating)
