"""Real daemons that learn from each other on loopback, for as long as an experiment lasts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "daemon"))

from processes import LOOPBACK, Daemon

__all__ = ["LOOPBACK", "Daemon", "start_swarm"]


def start_swarm(stack: ExitStack, folder: Path, settings: Sequence[Sequence[str]]) -> list[Daemon]:
    """Start one daemon for each entry of `settings`, in one swarm of the embedded model.

    Each listens when this returns. They end when `stack` closes.
    """
    daemons: list[Daemon] = []
    for number, own in enumerate(settings):
        daemon = Daemon(folder / f"{number}")
        stack.callback(daemon.end)
        daemon.ok("init", "--manifest", "embedded", "--listen", LOOPBACK)
        if daemons:
            daemon.ok("join", daemons[0].json("invite")["invite"])
        daemon.start(*own)
        daemon.until("it listens", lambda status: status["addresses"])
        daemons.append(daemon)
    return daemons
