"""Waiting for fresh groups before a draw (`sampling.freshness` = "fresh"), which swarm sampling by itself never does.

A node that trains on what is there is never idle, and imitates policies that may be long gone. One that waits until it has as
many foreign groups as it would draw, none older than `sampling.max_policy_age` updates of its signer, goes at the pace of the
swarm. Two nodes may wait for each other, and a peer may never say anything again: so a wait is bounded, and ends when the node
is told to stop or nobody is connected. And where a swarm does not bring that many groups a round, everybody would wait out
every round: so after a wait in vain a node is content with as many as had come, and hopes for one more after ten rounds.
A wait asks the pool again only when as many groups have come as were missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from swarm.config.sampling_section import SamplingSection
from swarm.learner.activity import Activity
from swarm.learner.company import Company
from swarm.learner.sampling import Sampling

# How often a node that waits looks whether anybody is connected, of which no network tells.
LOOK_S = 1.0
# What a round without a wait in vain adds to the groups hoped for.
HOPE = 0.1


@dataclass(frozen=True, slots=True)
class FreshnessStatistics:
    """Since the node started: rounds that waited for fresh groups, those that had too few after all, and seconds of both."""

    waits: int = 0
    too_few: int = 0
    waited_s: float = 0.0


class Freshness:
    """One node's waiting. Tell `arrived` of admitted groups, and `stop` of the node's end."""

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
        """So many groups were admitted; which of them can be drawn is for the pool to say."""
        self._missing -= groups
        if self._missing <= 0:
            self._woken.set()

    def stop(self) -> None:
        """Wait no more."""
        self._stopping = True
        self._woken.set()

    async def wait(self) -> None:
        """In the mode "fresh" wait until there are J fresh groups, the time is up, or there is nobody to wait for."""
        settings, wanted = self._settings, self._wanted
        if settings.freshness != "fresh" or not wanted or not self._anybody():
            return
        begun, found = trio.current_time(), await self._found(wanted)
        if found >= wanted:
            self._hoped += HOPE
            return
        why = f"for {wanted} groups of at most {settings.max_policy_age} updates ago (sampling.freshness)"
        with self._activity.doing("waiting", why), trio.move_on_after(settings.max_wait_s) as patience:
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
        """J, in groups also where the sampler counts completions, or as many as may be hoped for."""
        groups = math.ceil(self._sampling.split.external / self._sampling.completions_per_group)
        return int(min(groups, self._hoped))

    def _anybody(self) -> bool:
        return not self._stopping and self._company.connected() > 0

    async def _found(self, wanted: int) -> int:
        """Count the fresh groups that are there; from now on count those that come towards the `wanted` ones."""
        # In this order: what arrives while the pool is asked may count twice, and then it is asked again.
        self._missing, self._woken = wanted, trio.Event()
        found = await self._sampling.useful()
        self.arrived(found)
        return found

    def statistics(self) -> FreshnessStatistics:
        """Counts since the node started."""
        return FreshnessStatistics(self._waits, self._too_few, round(self._waited_s, 3))
