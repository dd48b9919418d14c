"""The dear part of admission: rebuilding a task and scoring its answers in a worker, shared out fairly.

A verifier may be busy for seconds with one group, and what it is busy with is chosen by a stranger. So that nobody waits for
long behind another's work:

- every signer has a budget of verification seconds (`swarm.pool.admission.budgets`); beyond it its groups are refused unseen;
- whenever a worker is free, established signers and newcomers are served in turns, however many of either wait;
- where there is more than one worker, newcomers leave one to the established.

A worker's limit is in CPU seconds, since only those are the answers' doing. One that has used them up, or all the memory, ends,
and the signer may be blamed for it. One that is late with seconds left was not given the processor: nobody's fault.

In a simulation a group costs a modelled time on the virtual clock, so the order of results follows from the seed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
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
        """One per text."""


# (recipe, seed, rendering, texts): rebuild the task and score the texts. Raises `ChildError`.
Rescore = Callable[[Recipe, int, str, Sequence[str]], Awaitable[Rescored]]


class Verification:
    """`workers` groups at once. Without `verify` the task is rebuilt and the claimed rewards are believed."""

    def __init__(self, rescore: Rescore, budget: Buckets[bytes], workers: int, *, verify: bool) -> None:
        self._rescore = rescore
        self._budget = budget
        self._verify = verify
        self._slots = WorkerSlots(workers)

    async def judge(
        self, group: RolloutGroup, beacon: bytes, signer: bytes, *, established: bool
    ) -> tuple[Task, tuple[float, ...]] | Reason:
        """The rebuilt task and our own rewards, or why there are none."""
        recipe = group.recipe
        texts = [completion.text for completion in group.completions] if self._verify else []
        async with self._slots.slot(established=established):
            if self._budget.left(signer) < 0:
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
                self._budget.spend(signer, trio.current_time() - begun)
        if not self._verify:
            return judged.task, group.rewards
        if not agree(group.rewards, judged.rewards):
            return Reason.REWARD
        return judged.task, judged.rewards


class WorkerSlots:
    """`slots` jobs at once, taken alternately from established signers and newcomers; of several, one is never a newcomer's."""

    def __init__(self, slots: int) -> None:
        self._slots = {True: slots, False: max(slots - 1, 1)}
        self._busy = {True: 0, False: 0}
        self._turns: Turns[tuple[trio.Event, bool]] = Turns()

    @asynccontextmanager
    async def slot(self, *, established: bool) -> AsyncIterator[None]:
        """Hold a slot."""
        called = trio.Event()
        self._turns.put((called, established), established=established)
        self._call()
        try:
            await called.wait()
            yield
        finally:
            if called.is_set():
                self._busy[established] -= 1
            else:
                self._turns.remove((called, established), established=established)
            self._call()

    def _call(self) -> None:
        """Give the free slots to those who wait."""
        while sum(self._busy.values()) < self._slots[True]:
            free = [queue for queue in (True, False) if self._busy[queue] < self._slots[queue]]
            waiting = self._turns.next(free)
            if waiting is None:
                return
            called, established = waiting
            self._busy[established] += 1
            called.set()
