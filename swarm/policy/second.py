"""The policy once more, in a process of its own on `policy.generation_device`, where it generates while the first one trains.

Weights go from the one to the other in a file: the training process writes it behind each update and puts it in place with one
rename, and the generating one reads it before it generates again. So neither waits for the other, and what is read is one
version, whole, which says itself which one. Of a policy with an adapter only the adapter goes that way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.messages import PolicyTag
from swarm.child import Child
from swarm.clock import Clock
from swarm.config.schema import PolicySection

TAKE_COST_PER_WEIGHT = 1e-9  # seconds that a virtual clock charges for reading


class Second:
    """The generating process; `handover` is the file. `start` makes it equal to the first process, which has begun already."""

    def __init__(self, config: PolicySection, sections: Mapping[str, Mapping[str, Any]], handover: Path, clock: Clock) -> None:
        self._niceness = config.niceness
        # What a frozen base model is for is training's business.
        self._sections = {**sections, "training": {**sections["training"], "beta": 0.0}}
        self._device = config.generation_device
        self._handover = handover
        self._clock = clock
        self._child: Child | None = None
        self._step = self._weights = 0

    async def start(self, checkpoint: Path | None, adapter: str, step: int, weights: int) -> Child:
        """Load what the first process has loaded: a checkpoint or the base, with this kind of adapter and so many weights;
        the process, which does so when it is first asked for anything."""
        policy = {**self._sections["policy"], "device": self._device, "adapter": adapter}
        path = None if checkpoint is None else str(checkpoint)
        arguments = {**self._sections, "policy": policy, "checkpoint": path, "trained": False}
        self._child = Child("swarm.policy.policy_worker:main", arguments, self._clock, niceness=self._niceness)
        self._step, self._weights = step, weights
        await self._child.start()
        return self._child

    async def newest(self, tag: PolicyTag) -> Child:
        """The process that generates, with weights that are at least those of `tag`."""
        assert self._child is not None, "the second process is used before it was started"  # noqa: S101
        if self._step != tag.step:
            self._step = await self._child.request("take", str(self._handover), cost=TAKE_COST_PER_WEIGHT * self._weights)
        return self._child

    def take_busy_s(self) -> float:
        """See `Child`."""
        return 0.0 if self._child is None else self._child.take_busy_s()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._child is None else self._child.pid

    async def end(self) -> None:
        """End the process, and wait until its memory is free."""
        if self._child is not None:
            await self._child.end()

    def kill(self) -> None:
        """End the process at once, if it runs, and leave nothing behind."""
        if self._child is not None:
            self._child.kill()
        self._handover.unlink(missing_ok=True)
