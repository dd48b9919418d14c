"""Whose turn it is at the policy's device, where rounds overlap (ahead.py).

Choosing a round's tasks and answering them is one turn, training another: so all completions of a round come from one version
of the weights, and the seconds of an activity are seconds of work, not of waiting. Policies on two devices take turns with
nobody. In strict order there is nothing to take turns in, and a lock would only let other tasks go first.
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
    """Enter one for as long as the work takes. Whoever holds `generating` knows that no request of that kind is under way."""

    generating: Turn
    training: Turn

    @classmethod
    def of(cls, config: Config) -> Self:
        """Those of a node's settings."""
        if not config.training.max_versions_behind:
            return cls(nullcontext(), nullcontext())
        generating = trio.Lock()
        return cls(generating, trio.Lock() if config.policy.generation_device else generating)
