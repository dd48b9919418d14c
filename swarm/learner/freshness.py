"""Waiting for fresh groups before a draw (`sampling.wait_s` above 0); plain swarm sampling never
waits.

A node that trains on the groups at hand is never idle, and imitates policies that may be long gone.
A node that waits for as many foreign groups as it would draw goes at the pace of the swarm; none of
them is older than `sampling.max_policy_age` updates of its signer.

Two nodes may wait for each other, and a peer may fall silent for good. So a wait is bounded, and
ends when the node is told to stop or no peer is connected. Where a swarm brings fewer groups a
round, everybody would wait out every round. So after a wait in vain a node is content with the
number that came, and hopes for one more after ten rounds. A waiting node asks the pool again only
when the missing number of groups has come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from swarm.config.schema import SamplingSection
from swarm.learner.activity import Activity
from swarm.learner.company import Company
from swarm.learner.sampling import Sampling

# Seconds between looks whether a peer is still connected; no network announces that.
LOOK_S = 1.0
# Added to the groups hoped for by a round without a wait in vain.
HOPE = 0.1


@dataclass(frozen=True, slots=True)
class FreshnessStatistics:
    """Counts since the start: rounds that waited for fresh groups, those of them that still had too
    few, and the seconds waited."""

    waits: int = 0
    too_few: int = 0
    waited_s: float = 0.0


class Freshness:
    """One node's waiting. Call `arrived` for admitted groups, and `stop` at the node's end."""

    def __init__(self, settings: SamplingSection, sampling: Sampling, company: Company, activity: Activity) -> None:
        self._settings = settings
        self._sampling = sampling
        self._company = company
        self._activity = activity
        self._hoped = math.inf
        self._missing = 0
        self._woken = trio.Event()
        self._stopping = False
        self._waits = self._too_few = 0
        self._waited_s = 0.0

    def arrived(self, groups: int) -> None:
        """Note the number of groups admitted; the pool decides which of them can be drawn."""
        self._missing -= groups
        if self._missing <= 0:
            self._woken.set()

    def stop(self) -> None:
        """End any wait, now and later."""
        self._stopping = True
        self._woken.set()

    async def wait(self) -> None:
        """Wait for J fresh groups, `sampling.wait_s` at most, or until no peer is connected."""
        settings, wanted = self._settings, self._wanted
        if not settings.wait_s or not wanted or not self._anybody():
            return
        begun, found = trio.current_time(), await self._found(wanted)
        if found >= wanted:
            self._hoped += HOPE
            return
        why = f"for {wanted} groups of at most {settings.max_policy_age} updates ago (sampling.wait_s)"
        with self._activity.doing("waiting", why), trio.move_on_after(settings.wait_s) as patience:
            while found < wanted and self._anybody():
                with trio.move_on_after(LOOK_S):
                    await self._woken.wait()
                if self._woken.is_set():
                    found = await self._found(wanted)
        if found >= wanted:
            self._hoped += HOPE
        elif patience.cancelled_caught:
            self._hoped = max(await self._found(wanted), 1)
        self._waits += 1
        self._too_few += found < wanted
        self._waited_s += trio.current_time() - begun

    @property
    def _wanted(self) -> int:
        """J in groups, also where the sampler counts completions, or the number that may be hoped
        for."""
        groups = math.ceil(self._sampling.external / self._sampling.completions_per_group)
        return int(min(groups, self._hoped))

    def _anybody(self) -> bool:
        return not self._stopping and self._company.connected() > 0

    async def _found(self, wanted: int) -> int:
        """Count the fresh groups in the pool; from now on count arrivals towards `wanted`."""
        # In this order: an arrival during the look may count twice; that only costs another look.
        self._missing, self._woken = wanted, trio.Event()
        found = await self._sampling.useful()
        self.arrived(found)
        return found

    def statistics(self) -> FreshnessStatistics:
        """Return the counts since the node started."""
        return FreshnessStatistics(self._waits, self._too_few, round(self._waited_s, 3))
