"""A second process of the policy, which generates on `policy.generation_device` while the first one
trains.

Experimental: not run on a GPU yet.

The weights go over in a file. The training process writes it after each update and puts it in place
with one rename; the generating process reads it before it generates again. So neither waits for the
other, and a reader gets one whole version, which says which one it is. Of a policy with an adapter
only the adapter goes over.

The file is in main memory (`/dev/shm`), since a gigabyte a round would wear a disk out. Where there
is no such place, or too little room in it, as in most containers, it is in the home.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocols.messages import PolicyTag
from swarm.child import Child
from swarm.clock import Clock
from swarm.config.schema import PolicySection

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of this user's own in it
TAKE_COST_PER_WEIGHT = 1e-9  # seconds that a virtual clock charges for reading


class Second:
    """The generating process; `places` are the files that may hold the weights.

    `start` follows the start of the first process.
    """

    def __init__(
        self, config: PolicySection, sections: Mapping[str, Mapping[str, Any]], places: Sequence[Path], clock: Clock
    ) -> None:
        self._niceness = config.niceness
        # Only training needs the frozen base model, so none is loaded here.
        self._sections = {**sections, "training": {**sections["training"], "beta": 0.0}}
        self._device = config.generation_device
        self._places = places
        self.handed = places[0]  # the file with the newest weights
        self._clock = clock
        self._child: Child | None = None
        self._step = self._weights = 0

    async def start(self, checkpoint: Path | None, adapter: str, step: int, weights: int) -> Child:
        """Start the process on what the first one has loaded: a checkpoint or the base, and this
        kind of adapter.

        `weights` is their number, by which reading them is charged. Loading happens at the first
        request.
        """
        policy = {**self._sections["policy"], "device": self._device, "adapter": adapter}
        path = None if checkpoint is None else str(checkpoint)
        arguments = {**self._sections, "policy": policy, "checkpoint": path, "trained": False}
        self._child = Child("swarm.policy.policy_worker:main", arguments, self._clock, niceness=self._niceness)
        self._step, self._weights = step, weights
        self._places[0].parent.mkdir(mode=0o700, exist_ok=True)
        await self._child.start()
        return self._child

    async def newest(self, tag: PolicyTag) -> Child:
        """Return the generating process with the weights of `tag` or newer ones."""
        assert self._child is not None, "the second process is used before it was started"  # noqa: S101
        if self._step != tag.step:
            self._step = await self._child.request("take", str(self.handed), cost=TAKE_COST_PER_WEIGHT * self._weights)
        return self._child

    def take_busy_s(self) -> float:
        """Seconds computed since the last call (see `Child`)."""
        return 0.0 if self._child is None else self._child.take_busy_s()

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._child is None else self._child.pid

    async def end(self) -> None:
        """End the process, and wait until its memory is free again."""
        if self._child is not None:
            await self._child.end()
        self._remove()

    def kill(self) -> None:
        """Kill the process, if it runs, and remove the file."""
        if self._child is not None:
            self._child.kill()
        self._remove()

    def _remove(self) -> None:
        for place in self._places:
            place.unlink(missing_ok=True)
        if len(self._places) > 1:
            with suppress(OSError):
                self._places[0].parent.rmdir()


def places_for(handover: Path) -> list[Path]:
    """Return where the weights may be handed over, the best place first and `handover` last."""
    # By the home, so that a start after a kill finds the old file and writes over it.
    of_home = hashlib.sha256(os.fsencode(handover)).hexdigest()[:16]
    folder = MEMORY / f"swarmd-{os.getuid()}-{of_home}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return [handover]
    # Everybody may make names there: another user's folder, or a link, is none of ours.
    ours = found.st_uid == os.getuid() and found.st_mode == 0o40700
    return [folder / handover.name, handover] if ours else [handover]
