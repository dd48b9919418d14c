"""The dear part of admission: rebuilds a task and scores its answers in a worker, fairly shared.

A stranger's group may keep a verifier busy for seconds. So that nobody waits for long behind
another's work:

- every signer has a budget of verification seconds (budgets.py), a newcomer a smaller one at once;
  beyond it, groups are refused unseen;
- a free worker serves established signers and newcomers in turns, however many of either wait;
- of several workers, newcomers leave one to the established;
- what is expected to take the least time comes first, and what is expected to take long waits among
  the newcomers. It is expected that an environment's next group takes what its last ones took.

A worker's limit is in CPU seconds, since only those are caused by the answers. A worker that uses
up its seconds or memory ends, and the signer may be blamed. One that is late with seconds left was
not given the processor: nobody's fault.

In a simulation a group costs a modelled time on the virtual clock, so the order of results follows
from the seed.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from protocols.messages import RolloutGroup
from protocols.reasons import Reason
from protocols.recipe import Recipe, seed
from swarm.errors import ChildDied, ChildError, ChildTimeout
from swarm.fair import Buckets, Turns
from swarm.pool.admission.checks import agree
from swarm.records import Task


class Rescored(Protocol):
    """A rebuilt task and the rewards of the texts, in their order."""

    @property
    def task(self) -> Task:
        """The task of the recipe."""

    @property
    def rewards(self) -> tuple[float, ...]:
        """One reward per text."""


# (recipe, seed, rendering, texts): rebuild the task and score the texts. Raises `ChildError`.
Rescore = Callable[[Recipe, int, str, Sequence[str]], Awaitable[Rescored]]


LONG_S = 0.5
LATEST = 0.3  # the weight of an environment's latest group in what is expected


class Verification:
    """Judges `workers` groups at once. Without `verify` it rebuilds the task and believes the
    claimed rewards. `budget` is by whether a signer is established."""

    def __init__(self, rescore: Rescore, budget: Mapping[bool, Buckets[bytes]], workers: int, *, verify: bool) -> None:
        self._rescore = rescore
        self._budget = budget
        self._verify = verify
        self._slots = WorkerSlots(workers)
        self._expected_s: dict[str, float] = {}  # by environment: no more than the manifest names

    async def judge(
        self, group: RolloutGroup, beacon: bytes, signer: bytes, *, established: bool, young: bool = False
    ) -> tuple[Task, tuple[float, ...]] | Reason:
        """Return the rebuilt task and our own rewards, or the reason why there are none.

        While a node is `young`, nobody is established, and all may use every worker.
        """
        recipe = group.recipe
        texts = [completion.text for completion in group.completions] if self._verify else []
        async with self._slots.slot(lambda: self._expected(recipe.environment), established=established or young):
            if self._budget[established].left(signer) < 0:
                return Reason.QUOTA
            begun = trio.current_time()
            try:
                judged = await self._rescore(recipe, seed(recipe, beacon), group.rendering, texts)
            except ChildDied:
                return Reason.VERIFIER_TIMEOUT
            except ChildTimeout:
                return Reason.QUEUE_FULL
            except ChildError:
                return Reason.VERIFIER_FAILED
            finally:
                self._took(signer, recipe.environment, trio.current_time() - begun)
        if not self._verify:
            return judged.task, group.rewards
        if not agree(group.rewards, judged.rewards):
            return Reason.REWARD
        return judged.task, judged.rewards

    def _expected(self, environment: str) -> float:
        # To hundredths: differences below are noise, and would spoil the order of arrival.
        return round(self._expected_s.get(environment, 0.0), 2)

    def _took(self, signer: bytes, environment: str, seconds: float) -> None:
        for budget in self._budget.values():
            budget.spend(signer, seconds)
        before = self._expected_s.get(environment, seconds)
        self._expected_s[environment] = before + LATEST * (seconds - before)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """Who waits for a slot, and the seconds that its work is expected to take by now."""

    called: trio.Event
    established: bool
    expected_s: Callable[[], float]

    def limited(self) -> bool:
        return not self.established or self.expected_s() >= LONG_S


class WorkerSlots:
    """`slots` jobs at once, taken alternately from established signers and newcomers.

    Of several slots, newcomers and long jobs never hold the last one.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._limit = max(slots - 1, 1)
        self._busy: dict[_Job, bool] = {}  # whether it counts towards the limit
        self._turns: Turns[_Job] = Turns()

    @asynccontextmanager
    async def slot(self, expected_s: Callable[[], float] = lambda: 0.0, *, established: bool) -> AsyncIterator[None]:
        """Wait for a slot, and hold it inside; what is expected to take least comes first."""
        job = _Job(trio.Event(), established, expected_s)
        self._turns.put(job, established=established)
        self._call()
        try:
            await job.called.wait()
            yield
        finally:
            if self._busy.pop(job, None) is None:
                self._turns.remove(job, established=established)
            self._call()

    def _call(self) -> None:
        """Give the free slots to waiting jobs."""
        while len(self._busy) < self._slots:
            full = sum(self._busy.values()) >= self._limit

            def cost(job: _Job, full: bool = full) -> float:
                return math.inf if full and job.limited() else job.expected_s()

            job = self._turns.cheapest(cost)
            if job is None:
                return
            self._busy[job] = job.limited()
            job.called.set()
