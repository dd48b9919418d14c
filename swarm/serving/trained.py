"""Opens the policy of a home's checkpoint, beside a running daemon or without one.

It runs in a process of its own and never disturbs a daemon's policy. A daemon's checkpoints are
whole the moment they appear, and stay while they are held (chosen.py).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from swarm.clock import WallClock
from swarm.config.schema import Config
from swarm.errors import ChildDied, SwarmdError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.policy.policy import Policy, Reply
from swarm.records import Prompt
from swarm.serving.chosen import chosen

FOLLOW_S = 2.0  # between looks for a newer checkpoint

logger = logging.getLogger(__name__)


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

    def __init__(self, home: Home, policy: Policy, path: Path | None, held: ExitStack) -> None:
        self._home = home
        self._policy = policy
        self._path = path
        self._held = held  # keeps the checkpoint of `path`
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
                await self._policy.restart(self._path)
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
        with ExitStack() as held:
            newest = await trio.to_thread.run_sync(held.enter_context, chosen(self._home, "newest"))
            try:
                async with self._turn:
                    await self._policy.restart(newest)
            except SwarmdError as error:
                self._mark = None  # the next look tries again
                logger.warning("the checkpoint %s cannot be loaded: %s", newest, error)
                return
            self._path = newest
            self.close()
            self._held = held.pop_all()
            logger.info("answering with step %d", self.step)

    def close(self) -> None:
        """Let others remove the checkpoint."""
        self._held.close()


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
    with ExitStack() as held:
        path = await trio.to_thread.run_sync(held.enter_context, chosen(home, which))
        async with open_policy(config, path) as policy:
            trained = Trained(home, policy, path, held.pop_all())
            try:
                yield trained
            finally:
                trained.close()
