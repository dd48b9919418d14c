"""Opens the policy of a home's checkpoint, beside a running daemon or without one.

It runs in a process of its own and never disturbs a daemon's policy; a daemon's checkpoints are
whole the moment they appear.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from swarm.clock import WallClock
from swarm.config.schema import Config
from swarm.errors import ChildDied, HomeError, SwarmdError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.policy.policy import Policy, Reply
from swarm.records import Prompt

FOLLOW_S = 2.0  # between looks for a newer checkpoint

logger = logging.getLogger(__name__)


def choose(home: Home, which: str) -> Path | None:
    """Find a checkpoint by "newest", by the number of its step, or by "base": None, the model
    before any training.

    Without any checkpoint the newest policy is the base. Reads every byte of the checkpoint. Raises
    `HomeError`.
    """
    if which == "base":
        return None
    if which == "newest":
        return checkpoint.newest(home.checkpoints)
    for path in checkpoint.every(home.checkpoints):
        if which.isdigit() and path.name.removesuffix(".replaced") == f"step-{int(which):08d}":
            if wrong := checkpoint.damage(path):
                raise HomeError(f"{wrong}; choose another checkpoint (swarmd checkpoints lists them)")
            return path
    raise HomeError(
        f"{home.checkpoints} has no checkpoint {which!r}; `swarmd checkpoints` lists them, and there are newest and base"
    )


def open_policy(config: Config, path: Path | None) -> Policy:
    """Return the policy of a checkpoint (None: the base model), to be entered; it answers and is
    never trained."""
    alone = replace(config, training=replace(config.training, beta=0.0))  # beta would load a second copy of the base
    return Policy(alone, WallClock(), checkpoint=path, trained=False)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request: `samples` replies to each prompt, of at most `max_tokens` tokens.

    Temperature 0 is greedy.
    """

    prompts: tuple[Prompt, ...]
    samples: int = 1
    max_tokens: int = 256
    temperature: float = 1.0
    seed: int = 0


class Trained:
    """The newest policy of a home; follows the checkpoints that a daemon writes.

    Answers one wish at a time.
    """

    def __init__(self, home: Home, policy: Policy, path: Path | None) -> None:
        self._home = home
        self._policy = policy
        self._path = path
        self._mark = mark(path)
        self._turn = trio.CapacityLimiter(1)

    @property
    def name(self) -> str:
        """The model's public name."""
        return self._policy.tag.model

    @property
    def step(self) -> int:
        """The number of its updates."""
        return self._policy.tag.step

    @property
    def digest(self) -> str:
        """The digest of its weights, in hex."""
        return self._policy.tag.digest.hex()

    @property
    def saved_s(self) -> int:
        """When its checkpoint was written (seconds since 1970); 0 for the base model."""
        return 0 if self._mark is None else self._mark[1] // 10**9

    @property
    def waiting(self) -> int:
        """The number of wishes that wait for their turn."""
        return self._turn.statistics().tasks_waiting

    async def answer(self, wish: Wish) -> list[tuple[Reply, ...]]:
        """Return the replies to each prompt, in order. Raises `SwarmdError`."""
        async with self._turn:
            try:
                return await self._policy.converse(
                    wish.prompts,
                    num_generations=wish.samples,
                    max_completion_length=wish.max_tokens,
                    temperature=wish.temperature,
                    seed=wish.seed,
                )
            except ChildDied:
                # Killed for memory, perhaps: the next request finds the policy restarted.
                gone = self._path is not None and not self._path.exists()
                await self._policy.restart(await trio.to_thread.run_sync(choose, self._home, "newest") if gone else self._path)
                raise

    async def follow(self) -> None:
        """Load newer checkpoints as they appear, until cancelled."""
        while True:
            await trio.sleep(FOLLOW_S)
            names = await trio.to_thread.run_sync(checkpoint.every, self._home.checkpoints)
            if names and mark(names[0]) != self._mark:
                await self._take_up(names[0])

    async def _take_up(self, seen: Path) -> None:
        self._mark = mark(seen)
        newest = await trio.to_thread.run_sync(checkpoint.newest, self._home.checkpoints)
        try:
            async with self._turn:
                await self._policy.restart(newest)
            self._path = newest
            logger.info("answering with step %d", self.step)
        except SwarmdError as error:
            # The daemon may have removed it between two looks; the next look finds what is there
            # then.
            self._mark = None
            logger.warning("the checkpoint %s cannot be loaded: %s", newest, error)


def mark(path: Path | None) -> tuple[str, int] | None:
    """Return what tells a checkpoint from another one of the same step; None for the base model, or
    if it is gone."""
    try:
        return None if path is None else (path.name, (path / checkpoint.META).stat().st_mtime_ns)
    except OSError:
        return None


@asynccontextmanager
async def open_trained(home: Home, config: Config, which: str = "newest") -> AsyncIterator[Trained]:
    """Open the policy of a home's checkpoint. Raises `SwarmdError`."""
    path = await trio.to_thread.run_sync(choose, home, which)
    async with open_policy(config, path) as policy:
        yield Trained(home, policy, path)
