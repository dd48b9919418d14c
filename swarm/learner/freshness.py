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
from typing import TYPE_CHECKING

import trio

from swarm.pool.sampling import SAMPLERS

if TYPE_CHECKING:
    from swarm.node.node import Node

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
    """One node's waiting. `arrived` and `wake` must be told of admitted groups and of the node's end."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._hoped = math.inf
        self._missing = 0
        self._woken = trio.Event()
        self._waits = self._too_few = 0
        self._waited_s = 0.0

    def arrived(self, groups: int) -> None:
        """So many groups were admitted; which of them can be drawn is for the pool to say."""
        self._missing -= groups
        if self._missing <= 0:
            self.wake()

    def wake(self) -> None:
        """Something changed that a wait should look at."""
        self._woken.set()

    async def wait(self) -> None:
        """In the mode "fresh" wait until there are J fresh groups, the time is up, or there is nobody to wait for."""
        settings, wanted = self._node.config.sampling, self._wanted
        if settings.freshness != "fresh" or not wanted or not self._anybody():
            return
        begun, found = trio.current_time(), await self._found(wanted)
        if found >= wanted:
            self._hoped += HOPE
            return
        why = f"for {wanted} groups of at most {settings.max_policy_age} updates ago (sampling.freshness)"
        with self._node.activity.doing("waiting", why), trio.move_on_after(settings.max_wait_s) as patience:
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
        config = self._node.config
        of_each = config.generation.num_generations if SAMPLERS[config.sampling.sampler].by_rollout else 1
        return int(min(math.ceil(self._node.split.external / of_each), self._hoped))

    def _anybody(self) -> bool:
        return not self._node.stopping and self._node.connected_peers > 0

    async def _found(self, wanted: int) -> int:
        """How many fresh groups are there; from now on counts those that come towards the `wanted` ones."""
        # In this order: what arrives while the pool is asked may count twice, and then it is asked again.
        self._missing, self._woken = wanted, trio.Event()
        node, sampler = self._node, SAMPLERS[self._node.config.sampling.sampler]
        candidates, skill = await node.candidates(), node.skill
        found = sum(sampler.usefulness(each, skill) > 0 for each in candidates)
        self.arrived(found)
        return found

    def statistics(self) -> FreshnessStatistics:
        """Counts since the node started."""
        return FreshnessStatistics(self._waits, self._too_few, round(self._waited_s, 3))
