"""The dear part of admission: rebuilds a task and scores its answers in a worker, fairly shared.

A stranger's group may keep a verifier busy for seconds. So that nobody waits for long behind
another's work:

- every signer has a budget of verification seconds (budgets.py); beyond it, groups are refused
  unseen;
- a free worker serves established signers and newcomers in turns, however many of either wait;
- of several workers, newcomers leave one to the established.

A worker's limit is in CPU seconds, since only those are caused by the answers. A worker that uses
up its seconds or memory ends, and the signer may be blamed. One that is late with seconds left was
not given the processor: nobody's fault.

In a simulation a group costs a modelled time on the virtual clock, so the order of results follows
from the seed.
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
        """One reward per text."""


# (recipe, seed, rendering, texts): rebuild the task and score the texts. Raises `ChildError`.
Rescore = Callable[[Recipe, int, str, Sequence[str]], Awaitable[Rescored]]


class Verification:
    """Judges `workers` groups at once. Without `verify` it rebuilds the task and believes the
    claimed rewards."""

    def __init__(self, rescore: Rescore, budget: Buckets[bytes], workers: int, *, verify: bool) -> None:
        self._rescore = rescore
        self._budget = budget
        self._verify = verify
        self._slots = WorkerSlots(workers)

    async def judge(
        self, group: RolloutGroup, beacon: bytes, signer: bytes, *, established: bool
    ) -> tuple[Task, tuple[float, ...]] | Reason:
        """Return the rebuilt task and our own rewards, or the reason why there are none."""
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
    """`slots` jobs at once, taken alternately from established signers and newcomers.

    Of several slots, newcomers never hold the last one.
    """

    def __init__(self, slots: int) -> None:
        self._slots = {True: slots, False: max(slots - 1, 1)}
        self._busy = {True: 0, False: 0}
        self._turns: Turns[tuple[trio.Event, bool]] = Turns()

    @asynccontextmanager
    async def slot(self, *, established: bool) -> AsyncIterator[None]:
        """Wait for a slot, and hold it inside."""
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
        """Give the free slots to waiting jobs."""
        while sum(self._busy.values()) < self._slots[True]:
            free = [queue for queue in (True, False) if self._busy[queue] < self._slots[queue]]
            waiting = self._turns.next(free)
            if waiting is None:
                return
            called, established = waiting
            self._busy[established] += 1
            called.set()
