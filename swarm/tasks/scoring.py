"""The node's side of the scoring workers: spreads requests over them and replaces failed ones.

Nothing that a peer sends can hold this up. An item that takes too long or ends its worker costs its
caller one exception. It costs everybody else the few milliseconds of starting the worker again.

There are two kinds of too long. Using up `limit_s` of CPU time is the item's fault and ends the
worker (`ChildDied`). `LATE` times as long by the clock without using it is the fault of a busy
machine (`ChildTimeout`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import trio

from protocols.recipe import Parameter, Recipe
from protocols.rules import EnvironmentRule, Range
from swarm.child import Child
from swarm.clock import Clock
from swarm.errors import ChildDied, ChildError, ChildTimeout
from swarm.records import Task

LIMIT_S = 5.0  # CPU seconds of a verifier for one group; the group is then refused
LATE = 4  # times its CPU limit by the clock, and an item is given up: other programs may take the CPU
START_TIMEOUT_S = 120.0  # the first start in a node imports the environments; the others are forks
Parameters = Mapping[str, Parameter] | Iterable[tuple[str, Parameter]]

# Seconds charged by a virtual clock; close to those of one core for the embedded model's tasks.
PROBLEM_COST_S = 0.002
COMPLETION_COST_S = 0.00005


@dataclass(frozen=True, slots=True)
class Scored:
    """A group's rebuilt task and the rewards of its completions, in order, each in [0, 1]."""

    task: Task
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScorerStatistics:
    """Counters since the start.

    `timeouts` are items that were late by the clock, `deaths` items that ended their worker (CPU
    time or memory). `verifier_errors` are completions that a verifier stumbled over, `busy_s`
    seconds of waiting for answers, summed over workers.
    """

    builds: int
    groups: int
    completions: int
    verifier_errors: int
    timeouts: int
    deaths: int
    restarts: int
    busy_s: float


class Scorer:
    """Rebuilds tasks and scores answers in `workers` child processes.

    Use it as an async context manager. `limit_s` CPU seconds are for one task with all its
    completions. Every request raises `ChildDied` if the item used them up or otherwise ended its
    worker, `ChildTimeout` if it was late by the clock. It raises `ChildFailed` if the item was
    refused (`remote_type` "EnvironmentRefused") or its environment is broken.
    """

    def __init__(self, workers: int, limit_s: float, clock: Clock) -> None:
        self._limit_s = limit_s
        self._children = [Child("swarm.tasks.task_worker:main", None, clock) for _ in range(workers)]
        self._free_in, self._free_out = trio.open_memory_channel[Child](workers)
        self._builds = self._groups = self._completions = self._verifier_errors = 0
        self._timeouts = self._deaths = self._starts = 0
        self._busy_s = 0.0
        self._versions: Mapping[str, str] = {}

    async def build(self, recipes: Sequence[tuple[Recipe, int]]) -> list[Task]:
        """Rebuild the tasks of (recipe, seed) over all workers. Raises the first error in order."""
        answers: list[Any] = [None] * len(recipes)

        async def build_one(position: int) -> None:
            recipe, seed = recipes[position]
            try:
                answers[position] = await self._request("build", _body(recipe, seed), self._limit_s, PROBLEM_COST_S)
                self._builds += 1
            except ChildError as error:
                answers[position] = error

        async with trio.open_nursery() as nursery:
            for position in range(len(recipes)):
                nursery.start_soon(build_one, position)
        for answer in answers:
            if isinstance(answer, ChildError):
                raise answer
        return [_task(recipe, seed, answer) for (recipe, seed), answer in zip(recipes, answers, strict=True)]

    async def score(self, recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Scored:
        """Rebuild a task and score the completions of its prompt in `rendering`."""
        body = _body(recipe, seed) | {"rendering": rendering, "texts": list(texts)}
        answer = await self._request("score", body, self._limit_s, PROBLEM_COST_S + COMPLETION_COST_S * len(texts))
        self._groups += 1
        self._completions += len(texts)
        self._verifier_errors += answer["errors"]
        return Scored(_task(recipe, seed, answer), tuple(answer["rewards"]))

    async def held_out(self, environment: str, parameters: Parameters, count: int, seed: int) -> list[Task]:
        """Return up to `count` held-out tasks with distinct prompts; fewer in small domains.

        `build` never yields any of them. Their recipes name the installed version, epoch 0, a
        proposer of zeros and their place in the list.
        """
        recipe = self._held_out_recipe(environment, parameters)
        answers = await self._request("held_out", _body(recipe, seed) | {"count": count}, *self._many(count))
        return [_task(replace(recipe, index=index), seed, answer) for index, answer in enumerate(answers)]

    async def score_held_out(
        self, environment: str, parameters: Parameters, count: int, seed: int, rendering: str, texts: Sequence[str]
    ) -> tuple[float, ...]:
        """Return the rewards of one answer to each task of `held_out` with the same arguments."""
        body = _body(self._held_out_recipe(environment, parameters), seed)
        body |= {"count": count, "rendering": rendering, "texts": list(texts)}
        answer = await self._request("score_held_out", body, *self._many(count))
        self._completions += len(texts)
        self._verifier_errors += answer["errors"]
        return tuple(answer["rewards"])

    async def examples(self, environment: str, parameters: Parameters, count: int, rendering: str) -> list[tuple[str, str]]:
        """Return up to `count` (prompt, answer worth 1), always the same and none of them held out.

        The list is empty if the environment knows no answers in this rendering.
        """
        body = _body(self._held_out_recipe(environment, parameters), 0) | {"count": count, "rendering": rendering}
        return [(prompt, solution) for prompt, solution in await self._request("examples", body, *self._many(count))]

    def _held_out_recipe(self, environment: str, parameters: Parameters) -> Recipe:
        version = self._versions.get(environment.partition("/")[0], "")
        return Recipe(environment, version, tuple(sorted(dict(parameters).items())), 0, bytes(32), 0)

    def _many(self, count: int) -> tuple[float, float]:
        """Return the time limit and the cost (s) of a request for `count` held-out tasks.

        About ten problems are built for each.
        """
        return self._limit_s * max(count, 1), PROBLEM_COST_S * max(count, 1)

    async def check(self, rules: Sequence[EnvironmentRule], renderings: Sequence[str]) -> None:
        """Raise `ChildFailed`, with the reason, if a rule cannot be played here."""
        plain = [(rule.name, rule.version, [(name, _plain(value)) for name, value in rule.parameters.items()]) for rule in rules]
        body = {"rules": plain, "renderings": list(renderings)}
        await self._request("check", body, self._limit_s * max(len(rules), 1), 0.0)

    def versions(self) -> Mapping[str, str]:
        """Return the versions of the installed families, which a recipe must name to be rebuilt."""
        return self._versions

    @property
    def pids(self) -> list[int]:
        """The process ids of the running workers."""
        return [child.pid for child in self._children if child.pid is not None]

    def statistics(self) -> ScorerStatistics:
        """Return the counters."""
        return ScorerStatistics(
            builds=self._builds,
            groups=self._groups,
            completions=self._completions,
            verifier_errors=self._verifier_errors,
            timeouts=self._timeouts,
            deaths=self._deaths,
            restarts=max(self._starts - len(self._children), 0),
            busy_s=self._busy_s,
        )

    async def _request(self, kind: str, body: dict[str, Any], limit_s: float, cost: float) -> Any:
        child = await self._free_out.receive()
        begun = time.perf_counter()
        try:
            # A worker that was killed, also by a cancellation, is started by its next user.
            if child.pid is None:
                await self._start_again(child)
            return await child.request(kind, body | {"limit_s": limit_s}, timeout=LATE * limit_s, cost=cost)
        except ChildTimeout:
            self._timeouts += 1
            raise
        except ChildDied:
            self._deaths += 1
            raise
        finally:
            self._busy_s += time.perf_counter() - begun
            self._free_in.send_nowait(child)

    async def _start_again(self, child: Child) -> None:
        try:
            await self._start(child)
        except ChildDied as error:
            # Not this item's fault: it has not begun.
            raise ChildTimeout(f"a verifier could not be started again: {error}") from error

    async def _start(self, child: Child) -> None:
        self._starts += 1
        await child.start()
        self._versions = await child.request("ready", None, timeout=START_TIMEOUT_S)

    async def __aenter__(self) -> Self:
        try:
            for child in self._children:
                await self._start(child)
                self._free_in.send_nowait(child)
        except BaseException:
            self._kill()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._kill()

    def _kill(self) -> None:
        for child in self._children:
            child.kill()


def _plain(value: Range | Parameter) -> list[int] | Parameter:
    return [value.min, value.max] if isinstance(value, Range) else value


def _body(recipe: Recipe, seed: int) -> dict[str, Any]:
    return {"environment": recipe.environment, "version": recipe.version, "parameters": recipe.parameters, "seed": seed}


def _task(recipe: Recipe, seed: int, answer: Mapping[str, Any]) -> Task:
    return Task(recipe, seed, answer["prompts"], answer["answer"], answer["solutions"])
