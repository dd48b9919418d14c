"""Which checkpoint of a home is used, and that it stays while it is used.

A daemon beside may write and prune at any moment. So a checkpoint is held
(swarm/policy/checkpoint.py) before it is read through, and until the block ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from swarm.errors import HomeError
from swarm.home import Home
from swarm.policy import checkpoint


@contextmanager
def chosen(home: Home, which: str) -> Iterator[Path | None]:
    """Hold a checkpoint by "newest", by the number of its step, or "base": None, the model before
    any training.

    Without any checkpoint the newest policy is the base. Reads every byte of the checkpoint. Raises
    `HomeError`.
    """
    with ExitStack() as held:
        yield None if which == "base" else _newest(home, held) if which == "newest" else _numbered(home, which, held)


def _newest(home: Home, held: ExitStack) -> Path | None:
    while True:
        paths = checkpoint.every(home.checkpoints)
        for path in paths:
            with ExitStack() as trial:
                if trial.enter_context(checkpoint.hold(path)) and checkpoint.damage(path) is None:
                    held.push(trial.pop_all())
                    return path
        if checkpoint.every(home.checkpoints) == paths:
            return None


def _numbered(home: Home, which: str, held: ExitStack) -> Path:
    for path in checkpoint.every(home.checkpoints):
        if which.isdigit() and checkpoint.step_of(path) == int(which) and held.enter_context(checkpoint.hold(path)):
            if wrong := checkpoint.damage(path):
                raise HomeError(f"{wrong}; choose another checkpoint (swarmd checkpoints lists them)")
            return path
    raise HomeError(
        f"{home.checkpoints} has no checkpoint {which!r}; `swarmd checkpoints` lists them, and there are newest and base"
    )
